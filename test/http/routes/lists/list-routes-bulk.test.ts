import { isDeepStrictEqual } from 'node:util'
import type { Redis } from 'ioredis'
import t from 'tap'
import { startRedis } from '../../../helpers/redis.ts'
import type { Json } from '../../../helpers/client.ts'
import { type Service, startService } from '../../../helpers/service.ts'
import type { TokenClaims } from '../../../helpers/tokens.ts'
import { until } from '../../../helpers/until.ts'
import { cacheReads, forceRow, insertRows, storeReads } from '../../rows.ts'

const service = await startService(t, { WORKERS: '0' })
const { ask, askJson, submit } = service

const bulk = (ids: readonly string[], claims?: TokenClaims): Promise<Json> =>
  askJson(`/api/v1/jobs?ids=${ids.map(encodeURIComponent).join(',')}`, claims === undefined ? {} : { claims })
const idsOf = ({ items }: Json) => items.map(({ jobId }: Json) => jobId)

await insertRows(service,
  { jobId: 'a', status: 'Queued' },
  { jobId: 'b', status: 'Running', tenant: 'tester', progressPercent: 10 },
  { jobId: 'c', status: 'Succeeded', resultUrl: 'https://example.org/c' },
  { jobId: 'd', status: 'Failed', errorDetails: '{"code":"E","message":"quote \\" and ü"}' },
  { jobId: 'of-acme', status: 'Running', tenant: 'acme' },
  { jobId: 'gone', status: 'Failed', tenant: 'tester' },
  { jobId: 'gone-of-acme', status: 'Failed', tenant: 'acme' })
await service.sql("DELETE FROM JobExecutionLog WHERE jobId LIKE 'gone%'")

t.test('returns the jobs in the order of the ids, each equal to its single read', async t => {
  const order = ['d', 'a', 'c', 'b']
  const answer = await ask(`/api/v1/jobs?ids=${order.join(',')}`)
  t.equal(answer.status, 200)
  t.match(answer.headers.get('content-type'), /^application\/json/)
  t.equal(answer.headers.get('cache-control'), 'private, no-cache')
  t.equal(answer.headers.get('vary'), 'Authorization, Accept')
  t.same(await answer.json(), {
    items: await Promise.all(order.map(id => askJson(`/api/v1/jobs/${id}`))), notFound: [], expired: []
  })
})

t.test('puts every requested id into exactly one of items, notFound and expired', async t => {
  const long = 'x'.repeat(129)
  const { notFound, expired, ...rest } = await bulk([
    'b', 'no-such-job', 'gone', 'a', 'b', 'gone', 'no-such-job', 'a b', '', long, 'of-acme', 'gone-of-acme', 'ä', 'a'
  ])
  t.same(idsOf(rest), ['b', 'a'])
  t.same(notFound, [
    'no-such-job', 'a b', '', long, 'of-acme', 'gone-of-acme', 'ä'
  ], 'malformed ids, and jobs and tombstones of other tenants')
  t.same(expired, ['gone'])
  t.same(await bulk(['no-such-job']), { items: [], notFound: ['no-such-job'], expired: [] })
  t.same(await bulk(['constructor', '__proto__', 'toString']), {
    items: [], notFound: ['constructor', '__proto__', 'toString'], expired: []
  })
})

t.test('shows jobs of the own tenant and of no tenant; an admin sees all', async t => {
  const all = ['a', 'b', 'of-acme', 'gone', 'gone-of-acme']
  const cases: Array<[TokenClaims, string[], string[]]> = [
    [{ tenant: 'acme' }, ['a', 'of-acme'], ['gone-of-acme']],
    [{ tenant: 'globex' }, ['a'], []],
    [{ scope: 'jobs:read jobs:admin' }, ['a', 'b', 'of-acme'], ['gone', 'gone-of-acme']]
  ]
  for (const [claims, items, expired] of cases) {
    const answer = await bulk(all, claims)
    t.same([idsOf(answer), answer.expired], [items, expired], JSON.stringify(claims))
    t.same(answer.notFound, all.filter(id => !items.includes(id) && !expired.includes(id)))
  }
  t.equal((await ask('/api/v1/jobs?ids=a', { claims: { scope: 'jobs:write jobs:admin' } })).status, 403)
  t.equal((await ask('/api/v1/jobs?ids=a', { headers: { authorization: '' } })).status, 401)
})

t.test('a record that breaks BR-001 does not fail the others', async t => {
  await forceRow(service, { jobId: 'damaged', status: 'Paused', tenant: 'tester' })
  const answer = await bulk(['a', 'damaged', 'b'])
  t.same(idsOf(answer), ['a', 'b'])
  t.same(answer.notFound, ['damaged'])
  t.ok(service.logs.some(line => line.level >= 50 && line.jobId === 'damaged' && /BR-001/.test(line.msg)))
})

t.test('accepts 100 ids and rejects more with 400, duplicates included', async t => {
  const many = Array.from({ length: 100 }, (_, at) => `${at}-`.padEnd(128, 'x'))
  t.same(await bulk(many), { items: [], notFound: many, expired: [] })
  for (const ids of [[...many.map(
    (_, at) => String(at)
  ), 'one-more'], Array.from({ length: 101 }, () => 'a'), Array.from({ length: 101 }, () => '')]) {
    const answer = await ask(`/api/v1/jobs?ids=${ids.join(',')}`)
    t.equal(answer.status, 400)
    t.match(await answer.json(), {
      code: 'VALIDATION_FAILED', errors: [{ field: 'ids', rule: 'maxItems', message: /^ids .*100/ }]
    })
  }
})

t.test('rejects ids that is empty, repeated or combined with other parameters', async t => {
  for (const other of ['status=Queued', 'type=x', 'createdAfter=2026-01-01', 'limit=5', 'cursor=x', 'limit=5&type=x']) {
    const answer = await ask(`/api/v1/jobs?ids=a&${other}`)
    t.equal(answer.status, 400, other)
    const { errors } = await answer.json() as Json
    t.ok(errors.some(({ field }: Json) => field === 'ids'), other)
  }
  for (const query of ['ids=', 'ids', 'ids=a&ids=b', 'ids[]=a']) {
    const answer = await ask(`/api/v1/jobs?${query}`)
    t.equal(answer.status, 400, query)
    t.match(await answer.json(), { code: 'VALIDATION_FAILED', errors: [{ field: /^ids/ }] })
  }
})

/** Call counts from Redis, by command, without the commands that monitor the connection. */
const commandsOf = async (redis: Redis): Promise<Record<string, number>> => {
  const stats = (await redis.info('commandstats')).matchAll(/cmdstat_(\w+):calls=(\d+)/g)
  return Object.fromEntries(Array.from(stats, ([, name = '', calls]) => [name, Number(calls)] as const)
    .filter(([name]) => !['info', 'set', 'pexpire'].includes(name)))
}

const readsOf = async (service: Service) => ({ cache: await cacheReads(service), store: await storeReads(service) })

/** Reads until the cache alone serves: fills are dropped while the relay still invalidates the inserted rows. */
const warm = async (service: Service, path: string): Promise<void> => {
  await until(async () => {
    const { store } = await readsOf(service)
    await service.askJson(path)
    return (await readsOf(service)).store === store
  }, 'a warm cache')
}

t.test('reads all cached jobs with one Redis command and no store read', async t => {
  const redis = await startRedis(t)
  const cached = await startService(t, { WORKERS: '0', REDIS_URL: redis.url })
  const ids = Array.from({ length: 60 }, (_, at) => `warm-${at}`)
  await insertRows(cached, ...ids.map(jobId => ({ jobId, status: 'Succeeded', tenant: 'tester' })))
  const path = `/api/v1/jobs?ids=${ids.join(',')},malformed%20id,warm-0`
  await warm(cached, path)
  const single = await cached.askJson('/api/v1/jobs/warm-59')
  // The relay may still invalidate some of the rows.
  await Promise.all(cached.app.loops.map(loop => loop.stop()))
  await warm(cached, path)

  const use = async () => ({ commands: await commandsOf(redis.client), reads: await readsOf(cached) })
  // Now and then the service also tries what it can do with this Redis.
  const answer = await until(async () => {
    const { commands, reads } = await use()
    const answer = await cached.askJson(path)
    const wanted = {
      commands: { ...commands, mget: (commands.mget ?? 0) + 1 }, reads: { cache: reads.cache + 60, store: reads.store }
    }
    return isDeepStrictEqual(await use(), wanted) && answer
  }, 'a read with one command, and none of the store')
  t.same(idsOf(answer), ids)
  t.same(answer.items[59], single)
})

t.test('reads each job that is not cached from the store once', async t => {
  const redis = await startRedis(t)
  const cached = await startService(t, { WORKERS: '0', REDIS_URL: redis.url })
  await insertRows(cached, ...['p', 'q', 'r', 's'].map(jobId => ({ jobId, status: 'Succeeded' })))
  await warm(cached, '/api/v1/jobs/q')
  const before = await readsOf(cached)
  t.same(idsOf(await cached.askJson('/api/v1/jobs?ids=s,q,p,s')), ['s', 'q', 'p'])
  t.same(await readsOf(cached), { cache: before.cache + 1, store: before.store + 2 })
  await redis.kill()
  t.same(idsOf(await cached.askJson(
    '/api/v1/jobs?ids=r,s,p'
  )), ['r', 's', 'p'], 'without Redis the store serves all reads')
})

t.test('is never older than an earlier response', async t => {
  const jobId = await submit('x', null)
  await Promise.all(Array.from({ length: 5 }, () => bulk([jobId])))
  await ask(`/api/v1/jobs/${jobId}/cancel`, { method: 'POST' })
  t.match(await bulk([jobId]), { items: [{ jobId, status: 'Failed', errorDetails: { code: 'JOB_CANCELLED' } }] })
})

/** The job of the last change after a place in the log. */
const lastAfter = async (cursor: string, tenant: string): Promise<unknown> =>
  (await askJson(`/api/v1/events?since=${cursor}`, { claims: { tenant } })).items.at(-1)?.jobId

t.test('names a place in the log of changes that is before everything that the list does not show', async t => {
  let later = 0
  for (const query of ['?type=cursor-test', '?ids=later-1,later-2', '?idPrefix=later']) {
    for (const path of ['/api/v1/jobs', '/api/jobs']) {
      const cursor = (await ask(`${path}${query}`)).headers.get('changes-cursor') ?? ''
      await insertRows(service, { jobId: `later-${++later}`, status: 'Queued', tenant: 'later' })
      t.equal(await lastAfter(cursor, 'later'), `later-${later}`)
    }
  }
})

t.test('the place in the log of changes is before a change that the cache has not noticed yet', async t => {
  await insertRows(service, { jobId: 'unnoticed', status: 'Succeeded', tenant: 'cursor' })
  const read = () => ask('/api/v1/jobs?ids=unnoticed', { claims: { tenant: 'cursor' } })
  await until(async () => (await (await read()).json() as Json).items.length === 1, 'the row is shown')
  const [, relay] = service.app.loops
  await relay?.stop()
  t.teardown(() => { relay?.start() })
  await service.sql("UPDATE JobExecutionLog SET resultUrl = 'https://example.org/' WHERE jobId = 'unnoticed'")
  t.equal(await lastAfter((await read()).headers.get('changes-cursor') ?? '', 'cursor'), 'unnoticed')
})
