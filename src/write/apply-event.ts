import { toAttemptEnd } from '../job/attempt.ts'
import { isTerminal, type Job, type JobLookup } from '../job/job.ts'
import { type JobEvent, type Transition, transition } from '../job/lifecycle.ts'
import type { QueueItem, Tx } from '../store/store.ts'
import { together } from '../store/together.ts'
import { endAttempt } from '../store/tx/runs/attempts.ts'
import { findJob, updateJob } from '../store/tx/jobs.ts'
import { clearLease, dequeue } from '../store/tx/runs/queue.ts'
import { orphanResult } from '../store/tx/results.ts'
import type { ChangedJob } from './commit.ts'

/** The job, if the service created it: rows of other programs are shown and never changed. */
export const toOwnJob = (lookup: JobLookup): Job | undefined =>
  lookup.kind === 'job' && lookup.job.submittedBy !== null ? lookup.job : undefined

/** An event that can happen to a job: the job as it was, and what the event makes of it. */
export type PossibleEvent = { event: JobEvent, job: Job, next: Extract<Transition, { accepted: true }> }

/** Undefined if the event cannot happen in the job's state. */
export const toPossible = (lookup: JobLookup, event: JobEvent): PossibleEvent | undefined => {
  const job = toOwnJob(lookup)
  const next = job === undefined ? undefined : transition(job, event)
  return job === undefined || next?.accepted !== true ? undefined : { event, job, next }
}

// The statements that follow the change of the record, begun.
const follow = (
  tx: Tx, { event, job: { jobId, state }, next }: PossibleEvent, now: number, endReport: string | null
): Array<Promise<void>> => {
  const following: Array<Promise<void>> = []
  if (state === 'running' && next.job.state !== 'running') {
    following.push(endAttempt(tx, jobId, toAttemptEnd(event, next.job), endReport, now))
  }
  if (isTerminal(next.job)) {
    following.push(dequeue(tx, jobId))
    // Bytes of a run that ended without a result, or of a result past its retention, are of no more use.
    if (next.job.state !== 'succeeded' || next.job.resultExpiredAt !== null) following.push(orphanResult(tx, jobId))
  } else if (next.job.state === 'queued') {
    following.push(clearLease(tx, jobId, now + (next.retryAfterMs ?? 0)))
  }
  return following
}

/**
 * Applies an event to a job that the caller has read since it locked it, with all statements at once. Returns the change,
 * for `commit`. If it returns undefined, the record has not changed, and the caller has to undo the transaction.
 * `now` in ms since 1970. `endReport` stands for the report that the event comes from, if it ends a run.
 */
export const applyAtOnce = async (
  tx: Tx, possible: PossibleEvent, now: number, endReport: string | null
): Promise<ChangedJob | undefined> => {
  const [lookup] = await together(updateJob(tx, possible.next.job), ...follow(tx, possible, now, endReport))
  return lookup === undefined ? undefined : { lookup, event: possible.event.type }
}

/**
 * Applies an event to a queued or running job and updates the queue with it. `lookup` is the record, which the caller has
 * read since it locked it. Returns the change, for `commit`; undefined if the event cannot happen in the job's state.
 * `now` in ms since 1970.
 */
export const applyEventTo = async (
  tx: Tx, lookup: JobLookup, event: JobEvent, now: number
): Promise<ChangedJob | undefined> => {
  const possible = toPossible(lookup, event)
  const changed = possible === undefined ? undefined : await updateJob(tx, possible.next.job)
  if (possible === undefined || changed === undefined) return undefined
  await together(...follow(tx, possible, now, null))
  return { lookup: changed, event: event.type }
}

/** The same for a job whose record the caller has locked and not read. */
export const applyEvent = async (
  tx: Tx, { jobId }: Pick<QueueItem, 'jobId'>, event: JobEvent, now: number
): Promise<ChangedJob | undefined> => await applyEventTo(tx, await findJob(tx, jobId), event, now)

const recheckMs = 60_000

/**
 * Brings the queue in line with a record of ours that another program changed. If that program queued the job again,
 * it becomes claimable; if it runs the job itself, the queue is checked again in a minute, for it may still give the
 * job back; if it finished or replaced the record, the queue item goes.
 */
export const reconcileForeignChange = async (tx: Tx, jobId: string, now: number): Promise<void> => {
  const state = toOwnJob(await findJob(tx, jobId))?.state
  await endAttempt(tx, jobId, { outcome: 'lease-lost', failure: null }, null, now)
  if (state === 'queued') await clearLease(tx, jobId, now)
  else if (state === 'running') await clearLease(tx, jobId, now + recheckMs)
  else {
    await dequeue(tx, jobId)
    // These bytes belong to no result: only the end of a run of ours records one.
    await orphanResult(tx, jobId)
  }
}
