import type { JobLookup } from '../job/job.ts'
import type { Expose } from '../status/expose.ts'
import { findJob } from '../store/tx/jobs.ts'
import { setCancelDue } from '../store/tx/queue.ts'
import type { Tx } from '../store/store.ts'
import { applyEvent, toOwnJob } from './apply-event.ts'
import type { RunJobNeeds } from './run-job.ts'

/** Whose jobs may be changed: those of a tenant for which this is true. */
export type CanModify = (tenant: string | null) => boolean

/**
 * What came of it. `cancelled`: now, or earlier. `asked`: its worker is told with its next report. `finished`: too
 * late. `not-ours`: another engine's. `hidden`: there is no such job, or it may not be touched.
 */
export type CancelOutcome = 'cancelled' | 'asked' | 'finished' | 'not-ours' | 'hidden'

/** Cancels a job. `entry` is the job as it then is. Throws STORE_UNAVAILABLE. */
export type CancelJob = (jobId: string, canModify: CanModify) => Promise<{ outcome: CancelOutcome, entry: Awaited<ReturnType<Expose>> }>

export type CancelJobNeeds = Omit<RunJobNeeds, 'resultRetentionMs'> & {
  /** Told of running jobs that are to stop, once that is committed. */
  onAsked: (jobId: string) => void
}

export const createCancelJob = ({ transact, expose, now, graceMs, onTransition, onAsked }: CancelJobNeeds): CancelJob => {
  const cancel = async (tx: Tx, jobId: string, canModify: CanModify): Promise<{ outcome: CancelOutcome, lookup: JobLookup, isNew: boolean }> => {
    const before = await findJob(tx, jobId)
    const untouched = (outcome: CancelOutcome) => ({ outcome, lookup: before, isNew: false })
    if (before.kind !== 'job') return untouched('hidden')
    const job = toOwnJob(before)
    if (job === undefined) return untouched('not-ours')
    if (!canModify(job.tenant)) return untouched('hidden')
    if (job.state === 'cancelled') return untouched('cancelled')
    const lookup = await applyEvent(tx, { jobId }, { type: 'cancel', at: now() }, now())
    if (lookup === undefined) return untouched('finished')
    if (job.state === 'queued') return { outcome: 'cancelled', lookup, isNew: true }
    await setCancelDue(tx, jobId, now() + graceMs)
    return { outcome: 'asked', lookup, isNew: job.state === 'running' && job.cancelRequestedAt === null }
  }
  return async (jobId, canModify) => {
    const { outcome, lookup, isNew } = await transact(tx => cancel(tx, jobId, canModify))
    const entry = await expose(lookup)
    if (isNew && lookup.kind === 'job') onTransition(lookup.job, 'cancel')
    if (outcome === 'asked') onAsked(jobId)
    return { outcome, entry }
  }
}
