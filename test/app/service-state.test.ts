import t from 'tap'
import { createCacheHistory, createServiceState, sampleIntervalMs, toQuantiles } from '../../src/app/service-state.ts'
import { createMetrics } from '../../src/metrics.ts'

const open = () => {
  const metrics = createMetrics()
  const clock = { ms: 1_800_000_000_000 }
  const health = { kind: 'x', ok: true, since: 0, reason: null }
  const state = createServiceState({
    process: { id: 'p', workers: 1 },
    metrics,
    refreshQueue: () => Promise.resolve(),
    checkStore: () => Promise.resolve(health),
    checkCache: () => ({ ...health, mode: 'on' }),
    redis: () => null,
    cacheHistory: () => [],
    isDraining: () => false,
    now: () => clock.ms
  })
  return { metrics, clock, ...state }
}

t.test('keeps an hour of samples, and each counts what came since the one before', async t => {
  const { metrics, clock, sample, read } = open()
  for (let round = 0; round < 400; round++) {
    clock.ms += sampleIntervalMs
    metrics.jobTransitions.inc({ event: 'claim', state: 'running' }, 2)
    metrics.jobTransitions.inc({ event: 'complete', state: 'succeeded' })
    metrics.jobsFinished.inc({ type: 'report', state: 'succeeded' })
    if (round % 2 === 0) metrics.jobNoticeSeconds.observe(0.02)
    await sample()
  }
  const { samples, current } = await read(-Infinity)
  t.equal(samples.length, 360)
  t.ok(samples.every(({ claimsPerMinute, endsPerMinute }) => claimsPerMinute === 12 && endsPerMinute === 6))
  t.same(samples.slice(0, 2).map(({ noticeSeconds }) => noticeSeconds?.count), [1, undefined])
  t.equal(samples.at(-1)?.at, new Date(clock.ms).toISOString())
  t.equal(current.claimsPerMinute, 12, 'over the time since the sample before the last')
  t.equal((await read(clock.ms - 2 * sampleIntervalMs)).samples.length, 2)
})

t.test('takes the requests to the API, without those whose duration says nothing about the others', async t => {
  const { metrics, clock, sample, read } = open()
  const observe = (route: string, kind: string, seconds: number) => {
    metrics.requestSeconds.observe({ method: 'GET', route, status: 200, kind }, seconds)
  }
  for (let count = 0; count < 100; count++) observe('/api/v1/jobs/:jobId', 'request', 0.0004)
  for (const kind of ['long-poll', 'claim', 'download']) observe('/api/v1/jobs/:jobId', kind, 4)
  observe('/metrics', 'request', 4)
  clock.ms += 1000
  await sample()
  const { samples: [first] } = await read(-Infinity)
  t.equal(first?.requestSeconds?.count, 100)
  t.ok((first?.requestSeconds?.p99 ?? 1) <= 0.0005)
})

t.test('estimates quantiles within a bucket, and no higher than the last bound', t => {
  const none = new Map<number, number>()
  const counts = new Map([[1, 10], [2, 20], [Infinity, 20]])
  t.same(toQuantiles(counts, none), { count: 20, p50: 1, p95: 1.9, p99: 1.98 })
  t.same(toQuantiles(counts, counts), null)
  t.same(toQuantiles(counts, new Map([[1, 10], [2, 10], [Infinity, 10]])), { count: 10, p50: 1.5, p95: 1.95, p99: 1.99 })
  t.same(toQuantiles(new Map([[1, 0], [Infinity, 5]]), none), { count: 5, p50: 1, p95: 1, p99: 1 })
  t.end()
})

t.test('keeps the last hundred changes of the cache mode', t => {
  let ms = 0
  const { list, onChange } = createCacheHistory(() => ++ms)
  for (let change = 0; change < 101; change++) onChange({ mode: 'off', since: 0, reason: `reason ${change}` })
  t.equal(list().length, 100)
  t.match(list()[0], { at: '1970-01-01T00:00:00.002Z', mode: 'off', reason: 'reason 1' })
  t.end()
})
