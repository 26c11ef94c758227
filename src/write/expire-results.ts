import type { JobLookup } from '../job/job.ts'
import { clearExpiry, findDueResults } from '../store/tx/retention.ts'
import { applyEvent } from './apply-event.ts'
import type { RunJobNeeds } from './run-job.ts'

/** Removes stored results that are past their retention, at most `limit`; returns how many were due. Throws STORE_UNAVAILABLE. */
export type ExpireResults = (limit: number) => Promise<number>

export const createExpireResults = ({ transact, expose, now, onTransition }: Omit<RunJobNeeds, 'resultRetentionMs' | 'graceMs'>): ExpireResults =>
  async limit => {
    const { lookups, looked } = await transact(async tx => {
      const lookups: JobLookup[] = []
      const due = await findDueResults(tx, now(), limit)
      for (const jobId of due) {
        const lookup = await applyEvent(tx, { jobId }, { type: 'expire', at: now() }, now())
        // Another program put a text there that is no time.
        if (lookup === undefined) await clearExpiry(tx, jobId)
        else lookups.push(lookup)
      }
      return { lookups, looked: due.length }
    })
    await Promise.all(lookups.map(lookup => expose(lookup)))
    for (const lookup of lookups) if (lookup.kind === 'job') onTransition(lookup.job, 'expire')
    return looked
  }
