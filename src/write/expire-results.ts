import { lockJob } from '../store/tx/jobs.ts'
import { clearExpiry, findDueResults } from '../store/tx/retention.ts'
import { applyEvent } from './apply-event.ts'
import type { ChangedJob, CommandNeeds } from './commit.ts'

/**
 * Removes stored results that are past their retention, at most `limit`; returns how many were due. Throws
 * STORE_UNAVAILABLE.
 */
export type ExpireResults = (limit: number) => Promise<number>

export const createExpireResults = ({ commit, now }: CommandNeeds): ExpireResults => async limit => {
  const { value: dueCount } = await commit(async tx => {
    const changes: ChangedJob[] = []
    const due = await findDueResults(tx, now(), limit)
    for (const jobId of due) {
      await lockJob(tx, jobId)
      const change = await applyEvent(tx, { jobId }, { type: 'expire', at: now() }, now())
      // Another program wrote a text there that is no time.
      if (change === undefined) await clearExpiry(tx, jobId)
      else changes.push(change)
    }
    return { changes, value: due.length }
  })
  return dueCount
}
