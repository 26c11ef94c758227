import type { CancelledJob, Failure, FailedJob, Job, QueuedJob, ResultFacts, RunningJob, SucceededJob } from './job.ts'
import { advanceProgress, noProgress, type ProgressUpdate } from './progress.ts'

/** What can happen to a job. Times are milliseconds since 1970. */
export type JobEvent =
  | { type: 'claim', at: number }
  | { type: 'progress', at: number, update: ProgressUpdate }
  /** The first bytes of a result arrived. */
  | { type: 'append' }
  /** `expiresAt`: when a stored result is due to be removed; null: there is none. */
  | {
    type: 'complete',
    at: number,
    resultUrl: string | null,
    result: ResultFacts | null,
    expiresAt: number | null,
    message?: string
  }
  | { type: 'fail', at: number, failure: Failure, retryable: boolean, maxAttempts: number }
  | { type: 'rescue', at: number, maxAttempts: number }
  | { type: 'release', at: number }
  | { type: 'cancel', at: number }
  /** The grace time in which the worker could notice the cancellation is over. */
  | { type: 'cancel-forced', at: number }
  /** The stored result is past its retention. */
  | { type: 'expire', at: number }

export type JobEventType = JobEvent['type']

/** The job after the event, or why the event cannot happen. The database assigns the version. */
export type Transition =
  | { accepted: true, job: Job, retryAfterMs?: number }
  | { accepted: false, reason: 'not-queued' | 'not-running' | 'not-asked' | 'finished' | 'no-result' }

const retryDelayMsMin = 1000
const retryDelayMsMax = 60_000

/** Milliseconds until the attempt after this one: 1 s, 2 s, 4 s … 60 s. `attempt` counts from 1. */
export const retryDelayMs = (attempt: number): number =>
  Math.min(retryDelayMsMax, retryDelayMsMin * 2 ** Math.min(attempt - 1, 16))

/** The failure of a job whose worker stopped reporting in its last attempt. */
export const leaseExpired: Failure = {
  code: 'LEASE_EXPIRED',
  message: 'The worker stopped reporting, and no attempt was left.'
}

/** The failure of a run that exceeded its timeout. */
export const timedOut: Failure = { code: 'TIMEOUT', message: 'The run took longer than timeoutSeconds.' }

/** The failure of a job that was cancelled. */
export const jobCancelled: Failure = { code: 'JOB_CANCELLED', message: 'The job was cancelled.' }

const claimed = (job: QueuedJob, at: number): RunningJob => ({
  ...job,
  state: 'running',
  attempt: job.attempt + 1,
  startedAt: at,
  progress: noProgress,
  cancelRequestedAt: null,
  hasPartialResult: false
})

/** The fields that every state has, for a job that leaves the running state. */
const toCommon = ({ cancelRequestedAt: _, hasPartialResult: __, ...common }: RunningJob) => common

const requeued = (job: RunningJob): QueuedJob => ({ ...toCommon(job), state: 'queued' })

const succeeded = (job: RunningJob, event: Extract<JobEvent, { type: 'complete' }>): SucceededJob => ({
  ...toCommon(job),
  state: 'succeeded',
  finishedAt: event.at,
  resultUrl: event.resultUrl,
  result: event.result,
  expiresAt: event.expiresAt,
  resultExpiredAt: null,
  progress: { ...job.progress, percent: 100, message: event.message ?? job.progress.message, etaSeconds: null }
})

const failed = (job: RunningJob, at: number, failure: Failure): FailedJob => ({
  ...toCommon(job),
  state: 'failed',
  finishedAt: at,
  failure,
  progress: { ...job.progress, etaSeconds: null }
})

const cancelled = (job: QueuedJob | RunningJob, at: number): CancelledJob => ({
  ...(job.state === 'running' ? toCommon(job) : job),
  state: 'cancelled',
  finishedAt: at,
  cancelledAt: at,
  failure: jobCancelled,
  progress: { ...job.progress, etaSeconds: null }
})

const retriedOrFailed = (job: RunningJob, at: number, failure: Failure, maxAttempts: number): Transition =>
  job.attempt < maxAttempts
    ? { accepted: true, job: requeued(job), retryAfterMs: retryDelayMs(job.attempt) }
    : { accepted: true, job: failed(job, at, failure) }

type EndEvent = Extract<JobEvent, { type: 'fail' | 'rescue' | 'release' }>

// A run that ends without a result. If its cancellation was requested, the job is cancelled and not run again,
// whatever the run ended with.
const ended = (job: RunningJob, event: EndEvent): Transition => {
  if (job.cancelRequestedAt !== null) return { accepted: true, job: cancelled(job, event.at) }
  switch (event.type) {
    case 'fail':
      return event.retryable
        ? retriedOrFailed(job, event.at, event.failure, event.maxAttempts)
        : { accepted: true, job: failed(job, event.at, event.failure) }
    case 'rescue':
      return retriedOrFailed(job, event.at, leaseExpired, event.maxAttempts)
    case 'release':
      // The run does not count: the next one has its number.
      return { accepted: true, job: requeued({ ...job, attempt: Math.max(0, job.attempt - 1) }) }
  }
}

const fromRunning = (job: RunningJob, event: Exclude<JobEvent, { type: 'claim' | 'expire' }>): Transition => {
  switch (event.type) {
    case 'progress': {
      const elapsedMs = event.at - (job.startedAt ?? event.at)
      return { accepted: true, job: { ...job, progress: advanceProgress(job.progress, event.update, elapsedMs) } }
    }
    case 'append':
      return { accepted: true, job: { ...job, hasPartialResult: true } }
    case 'complete':
      return { accepted: true, job: succeeded(job, event) }
    case 'cancel':
      return { accepted: true, job: { ...job, cancelRequestedAt: job.cancelRequestedAt ?? event.at } }
    case 'cancel-forced':
      return job.cancelRequestedAt === null
        ? { accepted: false, reason: 'not-asked' }
        : { accepted: true, job: cancelled(job, event.at) }
    case 'fail': case 'rescue': case 'release':
      return ended(job, event)
  }
}

const expired = (job: Job, at: number): Transition =>
  job.state === 'succeeded' && job.expiresAt !== null && job.resultExpiredAt === null
    ? { accepted: true, job: { ...job, result: null, resultExpiredAt: at } }
    : { accepted: false, reason: 'no-result' }

/**
 * The only place that decides what an event does to a job. The schema's CHECKs and triggers restate these rules, so
 * that no writer can do what this function rejects.
 */
export const transition = (job: Job, event: JobEvent): Transition => {
  if (event.type === 'expire') return expired(job, event.at)
  if (event.type === 'claim') {
    return job.state === 'queued'
      ? { accepted: true, job: claimed(job, event.at) }
      : { accepted: false, reason: 'not-queued' }
  }
  if (job.state === 'running') return fromRunning(job, event)
  if (event.type !== 'cancel') return { accepted: false, reason: 'not-running' }
  return job.state === 'queued'
    ? { accepted: true, job: cancelled(job, event.at) }
    : { accepted: false, reason: 'finished' }
}
