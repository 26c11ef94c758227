import type { Logger } from 'pino'
import { LRUCache } from 'lru-cache'
import { isTerminal, type Job } from '../job/job.ts'
import type { StatusEntry } from '../job/status-entry.ts'
import type { JobEventType } from '../job/lifecycle.ts'
import type { Metrics } from '../metrics.ts'
import type { Schedule } from '../schedule.ts'
import type { QueueReader } from '../store/store.ts'
import type { OnTransition } from '../write/commit.ts'

/*
 * What the service reports of its jobs, in metrics and in the log.
 */

const otherTypes = 'other'

/**
 * The value of the label `type`. A client may submit jobs of any type, and each value is a series that Prometheus
 * keeps: so types that are not known share one, unless the operator wants each of them.
 */
export type TypeLabels = { known: readonly string[], toLabel: (type: string | null) => string }

/** `known`: types that always have series. `isEvery`: so does every other type that is met. */
export const createTypeLabels = (known: Iterable<string>, isEvery: boolean): TypeLabels => {
  const types = new Set(known)
  return {
    known: [...types, otherTypes],
    toLabel: type => type !== null && (isEvery || types.has(type)) ? type : otherTypes
  }
}

// Each ends a run, whatever becomes of the job.
const runEnds: readonly JobEventType[] = ['complete', 'fail', 'rescue', 'release', 'cancel-forced']

type TransitionNeeds = {
  metrics: Metrics
  log: Logger
  typeLabels: TypeLabels
  /** ms since 1970. */
  now: () => number
}

/** Reports every change of a job's state. */
export const recordTransition = ({ metrics, log, typeLabels, now }: TransitionNeeds): OnTransition => (job, event) => {
  const { jobId, state, attempt, createdAt, startedAt } = job
  const type = typeLabels.toLabel(job.type)
  const secondsSince = (at: number) => Math.max(0, now() - at) / 1000
  metrics.jobTransitions.inc({ event, state })
  // A later attempt waited for its retry, too.
  if (event === 'claim' && attempt === 1) metrics.jobWaitSeconds.observe({ type }, secondsSince(createdAt))
  if (runEnds.includes(event) && startedAt !== null) metrics.jobRunSeconds.observe({ type }, secondsSince(startedAt))
  if (isTerminal(job) && event !== 'expire') metrics.jobsFinished.inc({ type, state })
  log.info({ jobId, type: job.type, attempt, event, state }, `job ${state}`)
}

/** Measures how soon clients learn of the ends of jobs. */
export type NoticeMeter = {
  /** A job was changed by this process. */
  onTransition: (job: Job) => void
  /** A client gets this status. */
  onShown: (entry: StatusEntry) => void
}

// Ends that no client has asked for yet.
const unseenMax = 10_000

/** `now` in ms since 1970. */
export const createNoticeMeter = (
  { metrics, now }: { metrics: Pick<Metrics, 'jobNoticeSeconds'>, now: () => number }
): NoticeMeter => {
  const endedAt = new LRUCache<string, number>({ max: unseenMax })
  return {
    onTransition: job => { if (isTerminal(job)) endedAt.set(job.jobId, now()) },
    onShown: ({ jobId, pollAfterMs }) => {
      // Before anything else: a poll of an unfinished job has nothing to do here.
      if (pollAfterMs > 0 || endedAt.size === 0) return
      const at = endedAt.get(jobId)
      if (at === undefined) return
      endedAt.delete(jobId)
      metrics.jobNoticeSeconds.observe(Math.max(0, now() - at) / 1000)
    }
  }
}

export type QueueGaugesNeeds = {
  count: QueueReader['count']
  metrics: Metrics
  typeLabels: TypeLabels
  /** ms since 1970. */
  now: () => number
  /** ms of a clock that only goes forward. */
  monotonicNow: () => number
  schedule: Schedule
}

const recountMsMin = 5000
// A count of a very long queue takes at most a twentieth of the time.
const recountShare = 20
const scrapeWaitsMs = 1000

type Series = { queued: number, running: number, oldestAt: number | null }

/**
 * Brings the gauges of the queue up to date, for a scrape: by a count that is at most 5 s old, or older while a long
 * queue is being counted again. While the queue cannot be counted, its gauges have no value.
 */
export const createQueueGauges = (
  { count, metrics, typeLabels: { known, toLabel }, now, monotonicNow, schedule }: QueueGaugesNeeds
): (() => Promise<void>) => {
  let series = new Map<string, Series>()
  let counting: Promise<void> | null = null
  let recountAt = -Infinity

  const recount = async (): Promise<void> => {
    const beganAt = monotonicNow()
    const counts = await count().catch(() => null)
    series = new Map(counts === null ? [] : known.map(label => [label, { queued: 0, running: 0, oldestAt: null }]))
    for (const { type, queued, running, oldestAt } of counts ?? []) {
      const label = toLabel(type)
      const sum = series.get(label) ?? { queued: 0, running: 0, oldestAt: null }
      const oldest = Math.min(sum.oldestAt ?? Infinity, oldestAt ?? Infinity)
      series.set(label, {
        queued: sum.queued + queued, running: sum.running + running, oldestAt: oldest === Infinity ? null : oldest
      })
    }
    recountAt = monotonicNow() + Math.max(recountMsMin, (monotonicNow() - beganAt) * recountShare)
  }

  return async () => {
    if (counting === null && monotonicNow() >= recountAt) counting = recount().finally(() => { counting = null })
    if (counting !== null) {
      const { promise: patience, resolve } = Promise.withResolvers<void>()
      const timer = schedule(resolve, scrapeWaitsMs)
      await Promise.race([counting, patience])
      timer.cancel()
    }
    metrics.queueJobs.reset()
    metrics.queueOldestSeconds.reset()
    for (const [type, { queued, running, oldestAt }] of series) {
      metrics.queueJobs.set({ type, state: 'queued' }, queued)
      metrics.queueJobs.set({ type, state: 'running' }, running)
      metrics.queueOldestSeconds.set({ type }, oldestAt === null ? 0 : Math.max(0, now() - oldestAt) / 1000)
    }
  }
}
