import type { ServiceSample, ServiceState } from '../http/routes/service-routes.ts'
import { toIso } from '../job/time.ts'
import type { Metrics } from '../metrics.ts'
import type { EpochStatus } from '../status/epoch/epoch.ts'
import type { PartHealth } from '../status/health.ts'

/*
 * The gauges of a process, and an hour of samples of them, for people who look at one process without a Prometheus.
 * They are read from the metrics, so that no request pays for them.
 */

const sampleSeconds = 10
const samplesMax = 3600 / sampleSeconds
const historyMax = 100
// METRICS_TYPES=all has no limit of its own.
const typesMax = 50

type Value = { value: number, labels: Partial<Record<string, string | number>>, metricName?: string }
type Measured = { get: () => Promise<{ values: readonly Value[] }> }

/** The cumulative counts of a histogram by the upper bounds of its buckets, ascending. */
type Buckets = ReadonlyMap<number, number>

const valuesOf = async (metric: Measured): Promise<readonly Value[]> => (await metric.get()).values

const isAny = (): boolean => true

const sumOf = async (metric: Measured, isCounted: (labels: Value['labels']) => boolean): Promise<number> =>
  (await valuesOf(metric)).reduce((sum, { value, labels }) => isCounted(labels) ? sum + value : sum, 0)

const bucketsOf = async (metric: Measured, isCounted: (labels: Value['labels']) => boolean): Promise<Buckets> => {
  const counts = new Map<number, number>()
  for (const { value, labels, metricName } of await valuesOf(metric)) {
    if (metricName?.endsWith('_bucket') !== true || !isCounted(labels)) continue
    const bound = labels.le === '+Inf' ? Infinity : Number(labels.le)
    counts.set(bound, (counts.get(bound) ?? 0) + value)
  }
  return new Map([...counts].sort(([one], [other]) => one - other))
}

/** As `histogram_quantile` of Prometheus: linear within the bucket, and the last bound for what is beyond it. */
const quantileOf = (buckets: Buckets, quantile: number): number => {
  const rank = quantile * Math.max(...buckets.values())
  let [lower, below] = [0, 0]
  for (const [upper, count] of buckets) {
    if (count >= rank) return upper === Infinity ? lower : lower + (upper - lower) * (rank - below) / (count - below)
    ;[lower, below] = [upper, count]
  }
  return lower
}

/** The quantiles of what came between two readings of a histogram; null if nothing did. */
export const toQuantiles = (now: Buckets, before: Buckets): ServiceSample['noticeSeconds'] => {
  const buckets = new Map([...now].map(([bound, count]) => [bound, count - (before.get(bound) ?? 0)]))
  const count = Math.max(0, ...buckets.values())
  if (count === 0) return null
  const [p50, p95, p99] = [quantileOf(buckets, 0.5), quantileOf(buckets, 0.95), quantileOf(buckets, 0.99)]
  return { count, p50, p95, p99 }
}

/** What only rises, at one time. */
type Totals = { at: number, claims: number, ends: number, notices: Buckets, requests: Buckets }

const readTotals = async (
  { jobTransitions, jobsFinished, jobNoticeSeconds, requestSeconds }: Metrics, at: number
): Promise<Totals> => ({
  at,
  claims: await sumOf(jobTransitions, ({ event }) => event === 'claim'),
  ends: await sumOf(jobsFinished, isAny),
  notices: await bucketsOf(jobNoticeSeconds, isAny),
  requests: await bucketsOf(requestSeconds, ({ kind, route }) =>
    kind === 'request' && String(route).startsWith('/api/'))
})

const readQueue = async ({ queueJobs, queueOldestSeconds }: Metrics): Promise<ServiceSample['queue']> => {
  const oldest = new Map((await valuesOf(queueOldestSeconds)).map(({ labels, value }) => [labels.type, value]))
  const types = new Map<string, { queued: number, running: number }>()
  for (const { labels, value } of await valuesOf(queueJobs)) {
    const type = String(labels.type)
    types.set(type, { queued: 0, running: 0, ...types.get(type), [String(labels.state)]: value })
  }
  return [...types].map(([type, counts]) =>
    ({ type, ...counts, oldestSeconds: counts.queued === 0 ? null : oldest.get(type) ?? null }))
    .sort((one, other) => other.queued + other.running - one.queued - one.running).slice(0, typesMax)
}

const readWaiting = async ({ waitingClients }: Metrics): Promise<ServiceSample['waitingClients']> => {
  const counts = new Map((await valuesOf(waitingClients)).map(({ labels, value }) => [labels.kind, value]))
  return {
    longPolls: counts.get('long-poll') ?? 0, streams: counts.get('stream') ?? 0, feeds: counts.get('feed') ?? 0
  }
}

const toPart = ({ kind, ok, since, reason }: PartHealth, unless: 'degraded' | 'down') =>
  ({ kind, status: ok ? 'ok' as const : unless, since: toIso(since), reason })

export type ServiceStateNeeds = {
  process: { id: string, workers: number }
  metrics: Metrics
  /** Brings the gauges of the queue up to date. */
  refreshQueue: () => Promise<void>
  checkStore: () => Promise<PartHealth>
  checkCache: () => PartHealth
  /** null: none is configured. */
  redis: () => ServiceState['redis']
  cacheHistory: CacheHistory['list']
  isDraining: () => boolean
  /** ms since 1970. */
  now: () => number
}

/** What operators see of one process. */
export type ServiceStateReader = {
  /** Takes the next sample; to be called every `sampleSeconds`. */
  sample: () => Promise<void>
  /** With the samples after this time (ms since 1970). */
  read: (after: number) => Promise<ServiceState>
}

/** How often a sample is due, in ms. */
export const sampleIntervalMs = sampleSeconds * 1000

/** The changes of the cache's mode, of which the last ones are kept. */
export type CacheHistory = { list: () => ServiceState['cacheHistory'], onChange: (status: EpochStatus) => void }

/** `now` in ms since 1970. */
export const createCacheHistory = (now: () => number): CacheHistory => {
  const history: ServiceState['cacheHistory'] = []
  return {
    list: () => [...history],
    onChange: ({ mode, reason }) => {
      history.push({ at: toIso(now()), mode, reason })
      if (history.length > historyMax) history.shift()
    }
  }
}

export const createServiceState = (needs: ServiceStateNeeds): ServiceStateReader => {
  const { metrics, refreshQueue, checkStore, checkCache, now, cacheHistory } = needs
  const startedAt = now()
  const samples: Array<{ at: number, sample: ServiceSample }> = []
  let last: Totals | null = null
  let beforeLast: Totals | null = null

  const measure = async (totals: Totals, before: Totals | null): Promise<ServiceSample> => {
    await refreshQueue()
    const { at, claims, ends, notices, requests } = totals
    const minutes = Math.max(1, at - (before?.at ?? startedAt)) / 60_000
    const { mode = 'on' } = checkCache()
    return {
      at: toIso(at),
      cacheMode: mode,
      isStoreUp: (await checkStore()).ok,
      queue: await readQueue(metrics),
      claimsPerMinute: (claims - (before?.claims ?? 0)) / minutes,
      endsPerMinute: (ends - (before?.ends ?? 0)) / minutes,
      waitingClients: await readWaiting(metrics),
      noticeSeconds: toQuantiles(notices, before?.notices ?? new Map()),
      requestSeconds: toQuantiles(requests, before?.requests ?? new Map())
    }
  }

  return {
    sample: async () => {
      const totals = await readTotals(metrics, now())
      const sample = await measure(totals, last)
      samples.push({ at: totals.at, sample })
      if (samples.length > samplesMax) samples.shift()
      beforeLast = last
      last = totals
    },
    read: async after => {
      const observedAt = now()
      const store = await checkStore()
      const cache = checkCache()
      return {
        observedAt: toIso(observedAt),
        process: { ...needs.process, startedAt: toIso(startedAt), isDraining: needs.isDraining() },
        store: toPart(store, 'down'),
        cache: { ...toPart(cache, 'degraded'), mode: cache.mode ?? 'on' },
        cacheHistory: cacheHistory(),
        redis: needs.redis(),
        // Over 10 to 20 s: what came since the last sample alone may be next to nothing.
        current: await measure(await readTotals(metrics, observedAt), beforeLast),
        sampleSeconds,
        samples: samples.filter(({ at }) => at > after).map(({ sample }) => sample)
      }
    }
  }
}
