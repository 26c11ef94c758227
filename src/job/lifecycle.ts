import type { Failure, FailedJob, Job, QueuedJob, ResultFacts, RunningJob, SucceededJob } from './job.ts'
import { advanceProgress, noProgress, type ProgressUpdate } from './progress.ts'

/** What can happen to a job. Times are milliseconds since 1970. */
export type JobEvent =
  | { type: 'claim', at: number }
  | { type: 'progress', at: number, update: ProgressUpdate }
  | { type: 'complete', at: number, resultUrl: string | null, result: ResultFacts | null, message?: string }
  | { type: 'fail', at: number, failure: Failure, retryable: boolean, maxAttempts: number }
  | { type: 'rescue', at: number, maxAttempts: number }
  | { type: 'release' }

export type JobEventType = JobEvent['type']

/** The job after the event, or why it cannot happen. The version is the database's to draw. */
export type Transition =
  | { accepted: true, job: Job, retryAfterMs?: number }
  | { accepted: false, reason: 'not-queued' | 'not-running' }

const retryDelayMsMin = 1000
const retryDelayMsMax = 60_000

/** Milliseconds until the attempt after this one: 1 s, 2 s, 4 s … 60 s. `attempt` counts from 1. */
export const retryDelayMs = (attempt: number): number =>
  Math.min(retryDelayMsMax, retryDelayMsMin * 2 ** Math.min(attempt - 1, 16))

/** The failure of a job whose worker vanished in its last attempt. */
export const leaseExpired: Failure = {
  code: 'LEASE_EXPIRED',
  message: 'The worker stopped reporting, and no attempt was left.'
}

const claimed = (job: QueuedJob, at: number): RunningJob =>
  ({ ...job, state: 'running', attempt: job.attempt + 1, startedAt: at, progress: noProgress })

const requeued = (job: RunningJob): QueuedJob => ({ ...job, state: 'queued' })

const succeeded = (job: RunningJob, event: Extract<JobEvent, { type: 'complete' }>): SucceededJob => ({
  ...job,
  state: 'succeeded',
  finishedAt: event.at,
  resultUrl: event.resultUrl,
  result: event.result,
  progress: { ...job.progress, percent: 100, message: event.message ?? job.progress.message, etaSeconds: null }
})

const failed = (job: RunningJob, at: number, failure: Failure): FailedJob => ({
  ...job,
  state: 'failed',
  finishedAt: at,
  failure,
  progress: { ...job.progress, etaSeconds: null }
})

const retriedOrFailed = (job: RunningJob, at: number, failure: Failure, maxAttempts: number): Transition =>
  job.attempt < maxAttempts
    ? { accepted: true, job: requeued(job), retryAfterMs: retryDelayMs(job.attempt) }
    : { accepted: true, job: failed(job, at, failure) }

const fromRunning = (job: RunningJob, event: Exclude<JobEvent, { type: 'claim' }>): Transition => {
  switch (event.type) {
    case 'progress': {
      const elapsedMs = event.at - (job.startedAt ?? event.at)
      return { accepted: true, job: { ...job, progress: advanceProgress(job.progress, event.update, elapsedMs) } }
    }
    case 'complete':
      return { accepted: true, job: succeeded(job, event) }
    case 'fail':
      return event.retryable
        ? retriedOrFailed(job, event.at, event.failure, event.maxAttempts)
        : { accepted: true, job: failed(job, event.at, event.failure) }
    case 'rescue':
      return retriedOrFailed(job, event.at, leaseExpired, event.maxAttempts)
    case 'release':
      return { accepted: true, job: requeued(job) }
  }
}

/**
 * The one place that decides what an event does to a job. The schema's CHECKs and triggers
 * restate it, so that no writer can do what this function would refuse.
 */
export const transition = (job: Job, event: JobEvent): Transition => {
  if (event.type === 'claim') {
    return job.state === 'queued'
      ? { accepted: true, job: claimed(job, event.at) }
      : { accepted: false, reason: 'not-queued' }
  }
  return job.state === 'running' ? fromRunning(job, event) : { accepted: false, reason: 'not-running' }
}
