import { isTerminal, type JobLookup } from '../job/job.ts'
import type { Expose } from '../status/expose.ts'
import { deleteJob, findJob } from '../store/job-store.ts'
import type { Transact, Write } from '../store/transact.ts'
import type { Permits } from './cancel-job.ts'

/** What came of it. `active`: not finished yet. `hidden`: there is no such job, or it may not be touched. */
export type EraseOutcome = 'erased' | 'active' | 'hidden'

/** Removes a finished job with all that belongs to it; a tombstone stays. `entry` is what is then known. Throws STORE_UNAVAILABLE. */
export type EraseJob = (jobId: string, permits: Permits) => Promise<{ outcome: EraseOutcome, entry: Awaited<ReturnType<Expose>> }>

export const createEraseJob = ({ transact, expose }: { transact: Transact, expose: Expose }): EraseJob => {
  const erase = async (write: Write, jobId: string, permits: Permits): Promise<{ outcome: EraseOutcome, lookup: JobLookup }> => {
    const lookup = await findJob(write, jobId)
    if (lookup.kind !== 'job' || !permits(lookup.job.tenant)) return { outcome: 'hidden', lookup }
    if (!isTerminal(lookup.job)) return { outcome: 'active', lookup }
    await deleteJob(write, jobId)
    return { outcome: 'erased', lookup: await findJob(write, jobId) }
  }
  return async (jobId, permits) => {
    const { outcome, lookup } = await transact(write => erase(write, jobId, permits))
    return { outcome, entry: await expose(lookup) }
  }
}
