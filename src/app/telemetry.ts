import type { Logger } from 'pino'
import type { CallbackDeliveryNeeds } from '../background/callbacks/delivery.ts'
import { isUnavailable, reasonOf } from '../errors.ts'
import type { UnreadValue } from '../job/recorded/values.ts'
import type { Metrics } from '../metrics.ts'
import { createLogThrottle } from '../log-throttle.ts'
import type { EpochStatus, Mode } from '../status/epoch/epoch.ts'
import type { PartHealth } from '../status/health.ts'
import { isMoved } from '../store/errors.ts'

/*
 * What the service reports of its own state, in metrics and in the log: every change, and nothing between changes.
 */

/** Reports what the cache is used for. `kind`: what it is, like `memory` or `redis-cluster`. */
export const reportCacheMode = (metrics: Metrics, log: Logger, kind: string) => {
  metrics.cacheKind.set({ kind }, 1)
  let lastMode: Mode | null = null
  return ({ mode, reason }: EpochStatus): void => {
    metrics.cacheOn.set(mode === 'on' ? 1 : 0)
    for (const each of ['on', 'warm', 'off'] as const) metrics.cacheMode.set({ mode: each }, each === mode ? 1 : 0)
    // It may be off for another reason than before.
    if (mode === 'off' && lastMode !== 'off') metrics.cacheTrips.inc()
    lastMode = mode
    if (mode === 'on') return log.info({ kind }, 'cache in use')
    if (mode === 'warm') return log.info({ kind }, 'cache warming up: writes only')
    log.warn({ kind, reason }, 'cache disabled, serving from the store')
  }
}

/** Reports whether the store can be read. */
export const reportStoreHealth = (metrics: Metrics, log: Logger) => ({ ok, reason }: PartHealth): void => {
  metrics.storeUp.set(ok ? 1 : 0)
  if (ok) return log.info('the store can be read again')
  log.warn({ reason }, 'the store cannot be read: requests that the cache cannot answer get 503')
}

/**
 * Reports what kept the embedded worker from a job, or from work at all. `now` in ms of a clock that only goes
 * forward.
 */
export const reportWorkerError = (log: Logger, now: () => number) => {
  const shouldLog = createLogThrottle(now)
  return (error: Error, jobId: string | null): void => {
    if (!isUnavailable(error)) return log.error({ err: error, jobId }, 'the embedded worker failed')
    // It tries again each second.
    if (isMoved(error) || !shouldLog(`${error.message} ${reasonOf(error.cause)}`)) return
    log.warn({ err: error, jobId }, 'the embedded worker cannot continue and tries again')
  }
}

/** Reports requests that were rejected because a queue is too long. `now` in ms of a clock that only goes forward. */
export const reportOverload = (metrics: Metrics, log: Logger, now: () => number) => {
  const shouldLog = createLogThrottle(now)
  return (queue: 'requests' | 'writes'): void => {
    metrics.requestsRefused.inc({ queue })
    if (shouldLog(queue)) log.warn({ queue }, 'overloaded: rejecting part of the load')
  }
}

/** Reports a subject whose requests begin to be rejected. */
export const reportRateLimit = (log: Logger) => ({ tenant, subject }: { tenant: string, subject: string }): void => {
  log.warn({ tenant, subject }, 'rate limit exceeded: rejecting requests of this subject over RATE_LIMIT_PER_MINUTE')
}

/**
 * Reports values of records that were not understood, once for each column and type of value: one engine writes all its
 * rows alike. Never the value itself. `now` in ms of a clock that only goes forward.
 */
export const reportUnread = (log: Logger, now: () => number) => {
  const shouldLog = createLogThrottle(now)
  return (jobId: string, { column, type }: UnreadValue): void => {
    if (!shouldLog(`${column} ${type}`)) return
    log.warn({ jobId, column, type }, `${column} of a record is not understood and counts as null`)
  }
}

/**
 * Reports each try of a callback: never its URL, which may hold a secret, nor what was sent or answered. `now` in ms
 * since 1970.
 */
export const reportCallback = (
  metrics: Metrics, log: Logger, now: () => number
): CallbackDeliveryNeeds['onTried'] => ({ of: { id, jobId, host, dueAt }, outcome: { kind, status }, settled }) => {
  const result = kind === 'delivered' ? kind : settled?.state === 'failed' ? 'failed' : 'retried'
  metrics.callbackTries.inc({ outcome: result })
  metrics.callbackSeconds.observe(Math.max(0, now() - dueAt) / 1000)
  const facts = { jobId, callbackId: id, host, status, tries: settled?.tries, error: settled?.lastError ?? undefined }
  if (result === 'failed') log.warn(facts, 'callback given up')
  else log.info(facts, result === 'delivered' ? 'callback delivered' : 'callback failed, and will be tried again')
}

const pendingCountedMax = 100_000

/** Brings the gauge of pending callbacks up to date, for a scrape; while they cannot be counted it has no value. */
export const createPendingGauge = (metrics: Metrics, countPending: (countMax: number) => Promise<number>) =>
  async (): Promise<void> => {
    const count = await countPending(pendingCountedMax).catch(() => null)
    if (count === null) metrics.callbacksPending.reset()
    else metrics.callbacksPending.set(count)
  }
