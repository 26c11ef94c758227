import { isCallbackId } from '../../job/callbacks/callback.ts'
import type { StatusEntry } from '../../job/status-entry.ts'
import { findRedelivered, makeDue } from '../../store/tx/callbacks.ts'
import { findJob, lockJob } from '../../store/tx/jobs.ts'
import type { CanModify } from '../cancel-and-erase.ts'
import type { CommandNeeds } from '../commit.ts'

const pauseMs = 60_000

/**
 * What a request for one more try did. `asked`: it is due now. `waiting`: the job has not ended. `too-soon`: there was
 * such a request less than a minute ago. `absent`: the job has no such callback, or the caller may not change it.
 */
export type RedeliverOutcome =
  { kind: 'asked' } | { kind: 'waiting' } | { kind: 'too-soon', retryAfterMs: number } | { kind: 'absent' }

/** Asks for one more try of a callback. `entry` is the job as it then is. Throws STORE_UNAVAILABLE. */
export type RedeliverCallback = (
  jobId: string, id: string, canModify: CanModify
) => Promise<{ outcome: RedeliverOutcome, entry: StatusEntry }>

/** `onDue` is called after the commit. */
export type RedeliverCallbackNeeds = CommandNeeds & { onDue: () => void }

export const createRedeliverCallback = (
  { commit, now, onDue }: RedeliverCallbackNeeds
): RedeliverCallback => async (jobId, id, canModify) => {
  const { entries: [entry], value: outcome } = await commit(async tx => {
    await lockJob(tx, jobId)
    const lookup = await findJob(tx, jobId)
    const answer = (value: RedeliverOutcome) => ({ changes: [{ lookup }] as const, value })
    const at = now()
    const callback = lookup.kind === 'job' && isCallbackId(id) ? await findRedelivered(tx, jobId, id, at) : undefined
    if (callback === undefined || !canModify(callback.tenant)) return answer({ kind: 'absent' })
    if (callback.state === 'waiting') return answer({ kind: 'waiting' })
    const retryAfterMs = (callback.redeliveredAt ?? -Infinity) + pauseMs - at
    if (retryAfterMs > 0) return answer({ kind: 'too-soon', retryAfterMs })
    await makeDue(tx, id, callback, at)
    return answer({ kind: 'asked' })
  })
  if (outcome.kind === 'asked') onDue()
  return { outcome, entry }
}
