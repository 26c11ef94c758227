import t, { type Test } from 'tap'
import type { ServiceState } from '../../../src/http/routes/service-routes.ts'
import { createWorkerClient, jsonOf } from '../../helpers/client.ts'
import { startRedis } from '../../helpers/redis.ts'
import { type Environment, type Service, startService } from '../../helpers/service.ts'
import { until } from '../../helpers/until.ts'

const claims = { scope: 'jobs:admin' }
const read = async ({ ask }: Service, query = ''): Promise<ServiceState> =>
  await jsonOf(ask(`/api/v1/service${query}`, { claims }))

const start = (t: Test, env: Environment = {}) => startService(t, { WORKERS: '0', ...env })

t.test('shows the process, its store and its cache, and a first sample at once', async t => {
  const service = await start(t, { WORKERS: '2' })
  const state = await until(async () => {
    const state = await read(service)
    return state.samples.length > 0 ? state : undefined
  }, 'the first sample')
  t.match(state, {
    process: { id: /^\S{16}$/, isDraining: false, workers: 2 },
    store: { status: 'ok', reason: null },
    cache: { kind: 'memory', status: 'ok', mode: 'on' },
    cacheHistory: [{ mode: 'on', reason: null }],
    redis: null,
    sampleSeconds: 10,
    current: { cacheMode: 'on', isStoreUp: true }
  })
  t.equal(state.store.kind, (await service.askJson('/readyz')).store.kind)
  const { samples: [sample] } = state
  t.equal((await read(service, `?since=${sample?.at}`)).samples.length, 0, 'none after the last')
  t.equal((await read(service, '?since=2020-01-01')).samples.length, 1)
  t.equal((await service.ask('/api/v1/service?since=soon', { claims })).status, 400)
})

t.test('counts the queue by type, claims and ends, waiting clients, notice and requests', async t => {
  const service = await start(t, { JOB_TYPES: 'report,thumbnail' })
  const { submit, ask } = service
  const worker = createWorkerClient(service)
  for (let job = 0; job < 3; job++) await submit('thumbnail', {})
  const { jobId, leaseToken } = await worker.claimed('thumbnail')
  const second = await worker.claimed('thumbnail')
  const controller = new AbortController()
  const waiting = ask(`/api/v1/jobs/${second.jobId}?wait=50`, { signal: controller.signal }).catch(() => {})
  await worker.report(jobId, 'complete', leaseToken, { result: 1 })
  await ask(`/api/v1/jobs/${jobId}`)
  const state = await until(async () => {
    const state = await read(service)
    const { current } = state
    const of = current.queue.find(({ type }) => type === 'thumbnail')
    return of?.queued === 1 && of.running === 1 && current.waitingClients.longPolls === 1 ? state : undefined
  }, 'the counts', 20_000)
  const { queue, claimsPerMinute, endsPerMinute, noticeSeconds, requestSeconds, waitingClients } = state.current
  t.same(queue.map(({ type }) => type).sort(), ['other', 'report', 'sanitize', 'thumbnail'])
  t.match(queue.find(({ type }) => type === 'report'), { queued: 0, running: 0, oldestSeconds: null })
  t.ok((queue.find(({ type }) => type === 'thumbnail')?.oldestSeconds ?? -1) >= 0)
  t.equal(Math.round(claimsPerMinute / endsPerMinute), 2, 'two claims and one end')
  t.same(waitingClients, { longPolls: 1, streams: 0, feeds: 0 })
  t.equal(noticeSeconds?.count, 1)
  t.ok(requestSeconds !== null && requestSeconds.count > 4 && requestSeconds.p50 <= requestSeconds.p99)
  const text = JSON.stringify(state)
  for (const { jobId: id } of [second, { jobId }]) t.notMatch(text, id, 'nothing of a job')
  controller.abort()
  await waiting
})

t.test('shows whether Redis can be reached, and each change of the cache mode with its reason', async t => {
  const redis = await startRedis(t)
  const service = await start(t, { REDIS_URL: redis.url })
  const first = await until(async () => {
    const state = await read(service)
    return state.cache.mode === 'on' ? state : undefined
  }, 'the cache')
  t.match(first.redis, { kind: 'redis', isReachable: true })
  await redis.kill()
  const state = await until(async () => {
    const state = await read(service)
    return state.cache.mode === 'off' && state.redis?.isReachable === false ? state : undefined
  }, 'the loss of Redis')
  t.match(state, { cache: { status: 'degraded', reason: String }, current: { cacheMode: 'off' } })
  t.equal(state.cacheHistory.at(-1)?.mode, 'off')
  t.equal(state.cacheHistory.at(-1)?.reason, state.cache.reason)
})

t.test('needs jobs:admin alone', async t => {
  const { ask } = await start(t)
  t.equal((await ask('/api/v1/service', { claims: { scope: 'jobs:read jobs:write jobs:work' } })).status, 403)
  t.equal((await ask('/api/v1/service', { headers: { authorization: '' } })).status, 401)
  const answer = await ask('/api/v1/service', { claims })
  t.equal(answer.status, 200)
  t.equal(answer.headers.get('cache-control'), 'no-store')
})
