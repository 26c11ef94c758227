import { isTerminal, type Job, type JobLookup } from '../job/job.ts'
import { type JobEvent, transition } from '../job/lifecycle.ts'
import { findJob, updateJob } from '../store/tx/jobs.ts'
import { clearLease, dequeue } from '../store/tx/queue.ts'
import type { QueueItem, Tx } from '../store/store.ts'
import { orphanResult } from '../store/tx/results.ts'

/** The job, if it is one of ours: others' rows are shown, and never touched. */
export const toOwnJob = (lookup: JobLookup): Job | undefined =>
  lookup.kind === 'job' && lookup.job.submittedBy !== null ? lookup.job : undefined

/**
 * Applies an event to a job of the queue, and keeps the queue in step. Returns the job as it then is; undefined: the
 * event cannot happen. `now` in ms since 1970.
 */
export const applyEvent = async (
  tx: Tx, { jobId }: Pick<QueueItem, 'jobId'>, event: JobEvent, now: number
): Promise<JobLookup | undefined> => {
  const job = toOwnJob(await findJob(tx, jobId))
  const next = job === undefined ? undefined : transition(job, event)
  if (next?.accepted !== true || !await updateJob(tx, next.job)) return undefined
  if (isTerminal(next.job)) {
    await dequeue(tx, jobId)
    // What a run without a result has sent of it is of no more use, nor is a result past its retention.
    if (next.job.state !== 'succeeded' || next.job.resultExpiredAt !== null) await orphanResult(tx, jobId)
  } else if (next.job.state === 'queued') {
    await clearLease(tx, jobId, now + (next.retryAfterMs ?? 0))
  }
  return await findJob(tx, jobId)
}

const recheckMs = 60_000

/**
 * Another program changed a record of ours. If it queued the job again, the job is to be had again; while it runs the
 * job itself, it may still give it back; if it finished or replaced it, there is nothing left to run.
 */
export const reconcileForeignChange = async (tx: Tx, jobId: string, now: number): Promise<void> => {
  const state = toOwnJob(await findJob(tx, jobId))?.state
  if (state === 'queued') await clearLease(tx, jobId, now)
  else if (state === 'running') await clearLease(tx, jobId, now + recheckMs)
  else {
    await dequeue(tx, jobId)
    // Its bytes are nobody's result: facts of one are written with the end of a run of ours alone.
    await orphanResult(tx, jobId)
  }
}
