import type { ResultFacts } from '../../job/job.ts'
import { OffsetMismatch, ResultBegun } from '../../job/lease.ts'
import type { JobEvent } from '../../job/lifecycle.ts'
import { toRecordedProgress } from '../../job/recorded/texts.ts'
import type { Tx } from '../../store/store.ts'
import { together } from '../../store/together.ts'
import { insertResult, insertWholeResult } from '../../store/tx/results.ts'
import { insertSanitizationEvents } from '../../store/tx/sanitization-events.ts'

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

/** Throws OffsetMismatch or ResultBegun if a run that has appended so many bytes cannot end like this. */
export const requireStorable = (jobId: string, outcome: RunOutcome, storedBytes: number): void => {
  if (outcome.kind !== 'appended' && storedBytes > 0) throw new ResultBegun(jobId)
  if (outcome.kind === 'appended' && outcome.facts.sizeBytes !== storedBytes) throw new OffsetMismatch(storedBytes)
}

const storeResult = async (tx: Tx, jobId: string, outcome: RunOutcome): Promise<void> => {
  if (outcome.kind === 'appended') await insertResult(tx, jobId, outcome.facts)
  else if (outcome.kind === 'given') await insertWholeResult(tx, jobId, outcome.facts, outcome.bytes)
}

/** Stores what a completion brings. `at` in ms since 1970. Throws OffsetMismatch. */
export const storeOutcome = async (tx: Tx, jobId: string, outcome: RunOutcome, at: number): Promise<void> => {
  await together(
    storeResult(tx, jobId, outcome), insertSanitizationEvents(tx, jobId, outcome.counts ?? {}, at))
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
