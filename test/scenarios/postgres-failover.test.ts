import { setTimeout as delay } from 'node:timers/promises'
import { inspect } from 'node:util'
import t from 'tap'
import { createWorkerClient, type WorkerClient } from '../helpers/client.ts'
import { hasLogged } from '../helpers/log-lines.ts'
import { type PostgresPair, startPostgresPair } from '../helpers/postgres-pair.ts'
import { startRedis } from '../helpers/redis.ts'
import { spawnService, type SpawnedService } from '../helpers/service.ts'
import { until, untilWithin } from '../helpers/until.ts'

// Processes on a primary with a synchronous standby that takes its place.

// As docs/guarantees.md says.
const recoveryMs = 5000
// So long a process may answer from the cache after its last reading of the database.
const leaseMs = 1000

const incarnationOf = (tag: string | null): string | undefined => /^"(\w+)\./.exec(tag ?? '')?.[1]
const versionOf = (tag: string | null): number => Number(/\.(\d+)\.\d+"$/.exec(tag ?? '')?.[1])

/** The name of the database in a URL with several hosts. */
const databaseOf = (url: string): string => new URL(url.replace(/,[^/]*/, '')).pathname.slice(1)

/** The version of a job as the database has it. */
const versionIn = async ({ sql }: PostgresPair, jobId: string, database: string): Promise<number> =>
  Number((await sql(`SELECT version FROM JobExecutionLog WHERE jobId = '${jobId}'`, database)).rows[0]?.version)

/** Asks over and over, each time on a new connection unless the service keeps the last. Returns what was not answered. */
const createProber = (services: readonly SpawnedService[]) => {
  const failures: string[] = []
  let isOver = false
  const probing = Promise.all(services.map(async ({ ask }) => {
    while (!isOver) {
      await ask('/livez').then(response => response.text()).catch((error: unknown) => { failures.push(inspect(error, { depth: 5 })) })
      await delay(5)
    }
  }))
  return {
    end: async () => {
      isOver = true
      await probing
      return failures
    }
  }
}

// Its run takes seconds.
const longContent = '<p onclick="x()">some <b>text</b></p>'.repeat(100_000)

t.test('a job that the process itself runs is queued again after a failover, and loses no attempt', async t => {
  const pair = await startPostgresPair(t)
  const service = await spawnService(t, {
    DATABASE_URL: await pair.createDatabase(), WORKERS: '1', BODY_BYTES_MAX: String(8 * 1024 * 1024), LEASE_SECONDS: '3600'
  })
  const body = { type: 'sanitize', input: { content: longContent, contentType: 'text/html' }, maxAttempts: 1 }
  const { jobId } = await service.askJson('/api/v1/jobs', { method: 'POST', body })
  const isRunning = async () => (await service.askJson(`/api/v1/jobs/${jobId}`)).status === 'Running'
  t.ok(await until(isRunning, 'the run'))
  await pair.primary().kill()
  await pair.promote()
  // Its lease is of an hour, and it has no attempt left to lose.
  t.match(await service.finished(jobId), { status: 'Succeeded' })
  t.match(await service.askJson(`/api/jobs/${jobId}/status`), { data: { attempt: 1 } })
  t.equal((await service.kill('SIGTERM')).code, 0)
})

t.test('a promoted standby takes over: no process exits or stops listening, and no worker loses its lease', async t => {
  const pair = await startPostgresPair(t)
  const redis = await startRedis(t)
  const env = { DATABASE_URL: await pair.createDatabase(), REDIS_URL: redis.url, WORKERS: '0' }
  const name = databaseOf(env.DATABASE_URL)
  const services = await Promise.all([0, 1].map(() => spawnService(t, env)))
  const [first, second] = services as [SpawnedService, SpawnedService]
  const workers = services.map(service => createWorkerClient(service))
  const poll = (service: SpawnedService, jobId: string, headers = {}) => service.ask(`/api/v1/jobs/${jobId}`, { headers })
  const statusWithin = (ms: number, service: SpawnedService, jobId: string, status: number) => untilWithin(ms, async () => {
    const answer = await poll(service, jobId)
    return answer.status === status && answer
  }, `a poll that is ${status}`)

  for (const end of ['kill', 'stop'] as const) {
    const jobId = await first.submit('remote', {})
    const claim = await workers[0]?.claimed('remote', { leaseSeconds: 600 })
    const report = (worker: WorkerClient, command: string, body: unknown) => until(async () => {
      const answer = await worker.report(jobId, command, claim?.leaseToken ?? '', body)
      return answer.status !== 503 && answer
    }, 'the report')
    const tag = (await poll(first, jobId)).headers.get('etag')
    t.equal((await poll(second, jobId)).headers.get('etag'), tag)
    const prober = createProber(services)
    await pair.synchronize()
    // The lease ends while there is no primary, and not before.
    const leaseExpiresAt = Date.now() + 3000
    await pair.sql(`UPDATE JobQueue SET leaseExpiresAt = ${leaseExpiresAt}`, name)
    await pair.primary()[end]()
    const ended = await Promise.all(services.map(service => statusWithin(leaseMs, service, jobId, 503)))
    for (const { headers } of ended) t.ok(headers.get('retry-after'))
    await until(() => Date.now() > leaseExpiresAt, 'the time at which the lease would have run out')
    await pair.promote()
    const answers = await Promise.all(services.map(async service =>
      ({ service, answer: await statusWithin(recoveryMs, service, jobId, 200) })))
    for (const { service, answer } of answers) {
      const renewed = answer.headers.get('etag')
      t.not(incarnationOf(renewed), incarnationOf(tag), 'in a new incarnation')
      t.equal(versionOf(renewed), versionOf(tag), 'of the same version')
      t.equal((await poll(service, jobId, { 'if-none-match': tag ?? '' })).status, 200, 'which an old tag does not match')
    }
    t.same(await prober.end(), [], 'every connection was accepted and answered')
    for (const worker of workers) t.equal((await report(worker, 'progress', {})).status, 200, 'the lease is still held')
    t.equal((await report(workers[1] as WorkerClient, 'complete', { result: 1 })).status, 200)
    const tags = await Promise.all(services.map(async service => (await poll(service, jobId)).headers.get('etag')))
    t.equal(tags[0], tags[1], 'both processes are of the same incarnation')
    await pair.rebuild()
  }
  for (const service of services) {
    t.equal(service.process.exitCode, null)
    t.equal((await service.kill('SIGTERM')).code, 0, 'and it drains as ever')
  }
})

t.test('a failover that loses commits takes back what was acknowledged, and confuses no version with one of before', async t => {
  const pair = await startPostgresPair(t)
  const DATABASE_URL = await pair.createDatabase()
  const name = databaseOf(DATABASE_URL)
  const service = await spawnService(t, { DATABASE_URL, WORKERS: '0' })
  const kept = await service.submit('remote', {})
  const poll = async (tag?: string) => {
    const answer = await service.ask(`/api/v1/jobs/${kept}`, tag === undefined ? {} : { headers: { 'if-none-match': tag } })
    return { status: answer.status, tag: answer.headers.get('etag') }
  }
  const versionNow = async () => versionOf((await poll()).tag)
  // A version each.
  const advance = (count: number) => pair.sql(`DO $$ BEGIN FOR i IN 1..${count} LOOP
    UPDATE JobExecutionLog SET progressMessage = clock_timestamp()::text WHERE jobId = '${kept}';
  END LOOP; END $$`, name)
  const before = await versionNow()
  await pair.synchronize()
  const [, standby] = pair.servers
  await standby?.sql("ALTER SYSTEM SET primary_conninfo = ''")
  await standby?.sql('SELECT pg_reload_conf()')
  await until(async () => (await standby?.sql('SELECT 1 FROM pg_stat_wal_receiver'))?.rowCount === 0, 'the standby to be cut off')
  await pair.sql("ALTER SYSTEM SET synchronous_standby_names = ''")
  await pair.sql('SELECT pg_reload_conf()')
  await advance(200)
  const shown = await until(async () => await versionNow() >= before + 200 && await poll(), 'the version that will be lost')
  const lost = await service.submit('remote', {})
  const { cursor } = await service.askJson('/api/v1/events')

  await pair.primary().kill()
  await pair.promote()
  const isOpen = async () => (await service.ask(`/api/v1/jobs/${lost}`)).status === 404
  t.ok(await until(isOpen, 'the promoted database'), 'what was accepted is gone')
  const older = await poll(shown.tag ?? '')
  t.equal(older.status, 200, 'the tag of before matches nothing')
  t.equal(versionOf(older.tag), before, 'an older state than before')
  t.not(incarnationOf(older.tag), incarnationOf(shown.tag))
  t.equal((await service.ask(`/api/v1/events?since=${cursor}`)).status, 410)
  t.ok(await hasLogged(service, 'its incarnation was renewed'), 'the log says so')

  // A promoted sequence goes on behind what it had logged ahead.
  await advance(1)
  const left = versionOf(shown.tag) - await versionIn(pair, kept, name)
  t.ok(left > 0, 'the versions are used again')
  await advance(left)
  t.equal(await versionIn(pair, kept, name), versionOf(shown.tag), 'the version is drawn again')
  const isShown = async () => await versionNow() === versionOf(shown.tag)
  t.ok(await until(isShown, 'the version in a poll'))
  t.equal((await poll(shown.tag ?? '')).status, 200, 'for another change')
})
