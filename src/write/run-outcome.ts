import type { ResultFacts } from '../job/job.ts'
import { ResultBegun } from '../job/lease.ts'
import type { JobEvent } from '../job/lifecycle.ts'
import { toRecordedProgress } from '../job/recorded/texts.ts'
import type { Tx } from '../store/store.ts'
import { insertResult, insertWholeResult, resultSize } from '../store/tx/results.ts'

/**
 * How a run ended well: with the bytes that it appended, with bytes given now (if it appended none), with a result
 * elsewhere, or with none. `counts`: what a sanitization removed, by kind.
 */
export type RunOutcome = { message?: string, counts?: Readonly<Record<string, number>> } & (
  | { kind: 'appended', facts: ResultFacts }
  | { kind: 'given', facts: ResultFacts, bytes: Uint8Array }
  | { kind: 'external', url: string }
  | { kind: 'none' }
)

/** Stores what a completion brings. Throws OffsetMismatch, ResultBegun. */
export const storeResult = async (tx: Tx, jobId: string, outcome: RunOutcome): Promise<void> => {
  if (outcome.kind === 'appended') return await insertResult(tx, jobId, outcome.facts)
  if (await resultSize(tx, jobId) > 0) throw new ResultBegun(jobId)
  if (outcome.kind !== 'given') return
  await insertWholeResult(tx, jobId, outcome.facts, outcome.bytes)
}

/** The event of a completion. */
export const toCompletion = (jobId: string, outcome: RunOutcome, at: number, retentionMs: number): JobEvent => {
  const message = outcome.message === undefined ? {} : toRecordedProgress({ message: outcome.message })
  const facts = outcome.kind === 'appended' || outcome.kind === 'given' ? outcome.facts : null
  if (facts !== null) {
    const resultUrl = `/api/v1/jobs/${jobId}/result`
    return { type: 'complete', at, resultUrl, result: facts, expiresAt: at + retentionMs, ...message }
  }
  const resultUrl = outcome.kind === 'external' ? outcome.url : null
  return { type: 'complete', at, resultUrl, result: null, expiresAt: null, ...message }
}
