import t, { type Test } from 'tap'
import type { Json } from '../helpers/client.ts'
import { storeLines, warningsIn } from '../helpers/log-lines.ts'
import { type PrivateRedis, startRedis } from '../helpers/redis.ts'
import { type SpawnedService, spawnService } from '../helpers/service.ts'
import { until, untilWithin } from '../helpers/until.ts'
import { type Proxy, startProxy } from '../torture/proxy.ts'
import { type Sightings, startPollers } from './pollers.ts'

/*
 * Two processes on one database: what they answer while Redis or the database cannot be used, and that they come back
 * by themselves.
 */

// As docs/guarantees.md says.
const recoveryMs = 5000

type Pair = {
  redis: PrivateRedis, proxy: Proxy, services: SpawnedService[], first: SpawnedService, second: SpawnedService
}

const cacheStatus = async (service: SpawnedService): Promise<string> => (await service.askJson('/readyz')).cache.status

const untilAll = async (services: readonly SpawnedService[], status: string) => await untilWithin(recoveryMs, async () =>
  (await Promise.all(services.map(cacheStatus))).every(found => found === status), `the cache to be ${status} for all`)

const startPair = async (t: Test): Promise<Pair> => {
  const redis = await startRedis(t)
  const proxy = await startProxy(redis.port)
  t.teardown(proxy.close)
  const env = { REDIS_URL: `redis://127.0.0.1:${proxy.port}`, WORKERS: '0', LOG_LEVEL: 'info' }
  // With a worker, which polls for jobs all the time.
  const first = await spawnService(t, { ...env, WORKERS: '1' })
  const second = await spawnService(t, env, first.databasePath)
  const services = [first, second]
  await first.sql("INSERT INTO JobExecutionLog (jobId, status) VALUES ('live', 'Running'), ('done', 'Succeeded')")
  await untilAll(services, 'ok')
  return { redis, proxy, services, first, second }
}

// One after the other: to start a service takes longer than most of what is tried with it.
const { redis, proxy, services, first, second } = await startPair(t)

const cacheLines = ({ lines }: SpawnedService): string[] =>
  lines.filter(line => /"msg":"cache (in use|warming up|disabled)/.test(line)).map(
    line => (JSON.parse(line) as { msg: string }).msg
  )

/** Runs the work while two pollers a process check that all responses are 200 or 304 and no version is older than one before. */
const whilePolled = async (
  t: Test, services: readonly SpawnedService[], work: (seen: readonly Sightings[]) => Promise<void>
) => {
  const pollers = services.map(service => startPollers(service, ['live', 'done'], 2))
  await work(pollers.map(({ seen }) => seen))
  for (const poller of pollers) {
    const { complaints, answers } = await poller.stop()
    t.same(complaints, [])
    t.ok(answers > 20, `${answers} answers`)
  }
}

/** Waits until each process has answered this often more. */
const traffic = async (seen: readonly Sightings[], answers: number) => {
  const goals = seen.map(each => each.answers + answers)
  await until(() => seen.every((each, index) => each.answers >= (goals[index] ?? 0)), 'traffic')
}

t.test('every read is answered while Redis is dead or very slow', async t => {
  await whilePolled(t, services, async seen => {
    for (const [name, harm, mend] of [
      ['dead', redis.kill, redis.restart],
      ['slow', () => { proxy.delay('back', 5000) }, () => { proxy.delay('back', 0) }]
    ] as const) {
      await harm()
      await untilAll(services, 'degraded')
      await first.sql(
        "UPDATE JobExecutionLog SET progressPercent = COALESCE(progressPercent, 0) + 1 WHERE jobId = 'live'"
      )
      await traffic(seen, 100)
      const ready = await first.ask('/readyz')
      t.equal(ready.status, 200, `${name}: a reason to say so, not to be taken out of service`)
      t.match(await ready.json(), {
        status: 'degraded', store: { status: 'ok' }, cache: { kind: 'redis', reason: String }
      })
      t.match(await (await first.ask('/metrics')).text(), /^job_status_cache_mode\{mode="on"\} 0$/m)
      await mend()
      await untilAll(services, 'ok')
      await traffic(seen, 20)
    }
  })
  for (const service of services) {
    const logged = cacheLines(service)
    t.ok(logged.every((line, index) => line !== logged[index - 1]), `one line a change: ${logged.join(', ')}`)
  }
})

t.test('a Redis that goes and comes again and again is left alone for longer and longer', async t => {
  /** When the cache was switched off or on, and for how long it stays off. */
  const readEpoch = async () => {
    const [changedAt = 0, holdMs = 0] = (await first.sql('SELECT changedAt, holdMs FROM CacheEpoch')).split('|').map(Number)
    return { changedAt, holdMs }
  }
  await untilAll(services, 'ok')
  const holds: number[] = []
  await whilePolled(t, services, async () => {
    for (let flap = 0; flap < 6; flap++) {
      proxy.refuse(true)
      proxy.cut()
      await untilAll(services, 'degraded')
      const off = await readEpoch()
      holds.push(off.holdMs)
      proxy.refuse(false)
      await untilAll(services, 'ok')
      const offMs = (await readEpoch()).changedAt - off.changedAt
      // Either process may have written each time, by a clock of whole ms.
      t.ok(offMs >= off.holdMs - 10, `off for ${offMs} ms, of ${off.holdMs}`)
    }
  })
  t.ok(holds.every((holdMs, flap) => holdMs >= Math.min(100 * 2 ** flap, 2000)), `for longer and longer: ${holds.join(', ')} ms`)
})

const hideStore =
  'ALTER TABLE JobExecutionLog RENAME TO HiddenLog; ALTER TABLE CacheEpoch RENAME TO HiddenEpoch; ALTER TABLE ServiceState RENAME TO HiddenState; ALTER TABLE JobQueue RENAME TO HiddenQueue'
const showStore =
  'ALTER TABLE HiddenLog RENAME TO JobExecutionLog; ALTER TABLE HiddenEpoch RENAME TO CacheEpoch; ALTER TABLE HiddenState RENAME TO ServiceState; ALTER TABLE HiddenQueue RENAME TO JobQueue'

const requireRefused = async (t: Test, service: SpawnedService, jobId: string) => {
  const answer = await service.ask(`/api/v1/jobs/${jobId}`)
  t.equal(answer.status, 503, `${jobId}: not known is not the same as not there`)
  t.ok(Number(answer.headers.get('retry-after')) >= 1)
  t.match(await answer.json(), { code: 'STORE_UNAVAILABLE' })
}

const requireLoggedOnce = (t: Test, { lines }: SpawnedService, from: number | undefined) => {
  const warnings = warningsIn(lines.slice(from))
  t.equal(
    new Set(warnings).size, warnings.length, `logged once, not with each request or trial: ${warnings.join(', ')}`
  )
}

const storeUp = async ({ ask }: SpawnedService) => Number(
  /^job_status_store_up (\d)$/m.exec(await (await ask('/metrics')).text())?.[1]
)

const comesBack = async (services: readonly SpawnedService[], coldJob: string) => {
  for (const service of services) {
    await untilWithin(
      recoveryMs, async () => (await service.ask(`/api/v1/jobs/${coldJob}`)).status === 200, 'the recovery'
    )
    await untilWithin(
      recoveryMs, async () => (await service.askJson('/readyz')).status === 'ready', 'the recovery of the cache'
    )
    await until(async () => await storeUp(service) === 1, 'the metric')
  }
}

/**
 * Hides the store, and returns how many lines each process had logged by then. Hides it again if a lease had ended before
 * the first response: on a busy machine it is not always renewed in time.
 */
const hideWhileLeased = async (services: readonly SpawnedService[], coldJob: string) => await until(async () => {
  await untilAll(services, 'ok')
  for (const service of services) if ((await service.ask('/api/v1/jobs/done')).status !== 200) return undefined
  const before = services.map(service =>
    ({ all: service.lines.length, cache: cacheLines(service).length, store: storeLines(service.lines).length }))
  await first.sql(hideStore)
  if ((await first.ask('/api/v1/jobs/done')).status === 200) return before
  await first.sql(showStore)
  await comesBack(services, coldJob)
  return undefined
}, 'a response while the lease lasts')

/** Hides the store and shows it again; each process answers 200 for a cached job until its lease ends, then 503. */
const answersWhileStoreIsAway = async (t: Test, services: readonly SpawnedService[], coldJob: string) => {
  await first.sql(`INSERT INTO JobExecutionLog (jobId, status) VALUES ('${coldJob}', 'Succeeded')`)
  const before = await hideWhileLeased(services, coldJob)
  // Each process has a lease of its own.
  for (const service of services) {
    const seen: number[] = []
    await until(async () => {
      const { status } = await service.ask('/api/v1/jobs/done')
      seen.push(status)
      return status === 503
    }, 'the end of the lease')
    t.ok(seen.every(status => status === 200 || status === 503), `never unknown: ${[...new Set(seen)].join(', ')}`)
  }
  for (const service of services) {
    for (const jobId of ['done', coldJob, 'never']) await requireRefused(t, service, jobId)
  }
  for (let i = 0; i < 50; i++) t.equal((await first.ask(`/api/v1/jobs/${coldJob}`)).status, 503)
  await until(async () => await storeUp(first) === 0, 'the metric')
  // A lease that ends is reported at the second look, so that a process that stood still for a moment reports nothing.
  await until(async () => (await (await first.ask('/readyz')).json() as Json).cache.status === 'degraded', 'the report')
  const ready: Json = await first.ask('/readyz')
  t.equal(ready.status, 503)
  t.match(await ready.json(), {
    status: 'unavailable', store: { status: 'down', reason: String }, cache: { status: 'degraded', reason: /database|Redis timed out/ }
  })
  await first.sql(showStore)
  await comesBack(services, coldJob)
  for (const service of services) t.equal((await service.ask('/api/v1/jobs/never')).status, 404)
  for (const [index, service] of services.entries()) {
    const logged = () => storeLines(service.lines).slice(before[index]?.store)
    await until(() => logged().length >= 2, 'the line about the end')
    requireLoggedOnce(t, service, before[index]?.all)
    t.same(logged(), [
      'the store cannot be read: requests that the cache cannot answer get 503', 'the store can be read again'
    ])
    const changes = cacheLines(service).slice(before[index]?.cache)
    t.ok(changes.length > 0 && changes.every(
      (line, i) => line !== changes[i - 1]
    ), `one line a change: ${changes.join(', ')}`)
  }
}

t.test('the store cannot be read: several processes answer what is cached until their lease ends, then 503', async t => {
  await answersWhileStoreIsAway(t, services, 'cold')
})

t.test('the store cannot be read: a process alone answers what is cached until its lease ends, then 503', async t => {
  t.match(await second.kill('SIGTERM'), { code: 0 })
  await untilWithin(
    recoveryMs, async () => await first.sql('SELECT count(*) FROM CacheNode') === '1', 'the other to have left'
  )
  await answersWhileStoreIsAway(t, [first], 'colder')
})
