import { isTerminal, type JobLookup } from '../job/job.ts'
import type { Expose } from '../status/expose.ts'
import { deleteJob, findJob } from '../store/tx/jobs.ts'
import type { Transact, Tx } from '../store/store.ts'
import type { CanModify } from './cancel-job.ts'

/** What came of it. `active`: not finished yet. `hidden`: there is no such job, or it may not be touched. */
export type EraseOutcome = 'erased' | 'active' | 'hidden'

/** Removes a finished job with all that belongs to it; a tombstone stays. `entry` is what is then known. Throws STORE_UNAVAILABLE. */
export type EraseJob = (jobId: string, canModify: CanModify) => Promise<{ outcome: EraseOutcome, entry: Awaited<ReturnType<Expose>> }>

export const createEraseJob = ({ transact, expose }: { transact: Transact, expose: Expose }): EraseJob => {
  const erase = async (tx: Tx, jobId: string, canModify: CanModify): Promise<{ outcome: EraseOutcome, lookup: JobLookup }> => {
    const lookup = await findJob(tx, jobId)
    if (lookup.kind !== 'job' || !canModify(lookup.job.tenant)) return { outcome: 'hidden', lookup }
    if (!isTerminal(lookup.job)) return { outcome: 'active', lookup }
    await deleteJob(tx, jobId)
    return { outcome: 'erased', lookup: await findJob(tx, jobId) }
  }
  return async (jobId, canModify) => {
    const { outcome, lookup } = await transact(tx => erase(tx, jobId, canModify))
    return { outcome, entry: await expose(lookup) }
  }
}
