import { type Job, isTerminal } from './job.ts'

const pollAfterMsQueued = 1000
const pollAfterMsRunning = 1000
const pollAfterMsMax = 10_000

/**
 * Milliseconds after which a client should poll again; null if nothing will change. A function of the version alone: a
 * quarter of the estimated time left, so that the last wait is short compared to the whole, or a second without an
 * estimate.
 */
export const pollAfterMs = (job: Job): number | null => {
  if (isTerminal(job)) return null
  if (job.state === 'queued') return pollAfterMsQueued
  const { etaSeconds } = job.progress
  if (etaSeconds === null) return pollAfterMsRunning
  return Math.min(pollAfterMsMax, Math.max(pollAfterMsRunning, etaSeconds * 250))
}

/** Whole seconds, at least 1, as `Retry-After` wants them. */
export const retryAfterSeconds = (waitMs: number): number => Math.max(1, Math.ceil(waitMs / 1000))
