import type { Failure, Job } from './job.ts'
import { type JobEvent, timedOut } from './lifecycle.ts'

/** How a run ended. `lease-lost`: its worker stopped reporting, or another program took the job. */
export const attemptOutcomes =
  ['succeeded', 'failed', 'cancelled', 'released', 'lease-lost', 'timed-out'] as const
export type AttemptOutcome = typeof attemptOutcomes[number]

/** How many runs of a job are kept. */
export const attemptsKeptMax = 50

/** How a run ended, and the failure that its worker reported, if it did. */
export type AttemptEnd = { outcome: AttemptOutcome, failure: Pick<Failure, 'code' | 'message'> | null }

/** A run of a job. Times in ms since 1970; `endedAt` and `outcome` are null until the end is recorded. */
export type Attempt = {
  attempt: number
  startedAt: number
  endedAt: number | null
  outcome: AttemptOutcome | null
  failure: AttemptEnd['failure']
}

const toOutcome = (event: JobEvent, next: Job): AttemptOutcome => {
  if (next.state === 'cancelled') return 'cancelled'
  switch (event.type) {
    case 'complete': return 'succeeded'
    case 'release': return 'released'
    case 'fail': return event.failure.code === timedOut.code ? 'timed-out' : 'failed'
    default: return 'lease-lost'
  }
}

/** How an event ended the run of a job that is no longer running; `next` is the job after it. */
export const toAttemptEnd = (event: JobEvent, next: Job): AttemptEnd => {
  const failure = event.type === 'fail' ? { code: event.failure.code, message: event.failure.message } : null
  return { outcome: toOutcome(event, next), failure }
}
