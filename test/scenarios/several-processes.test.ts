import t from 'tap'
import { type PrivateRedis, startRedis } from '../helpers/redis.ts'
import type { Client } from '../helpers/client.ts'
import { type SpawnedService, spawnService } from '../helpers/service.ts'
import { until } from '../helpers/until.ts'

const scopes = { claims: { scope: 'jobs:read jobs:write jobs:work' } }

const cacheOf = async (service: Client) => (await service.askJson('/readyz')).cache
const inUse = async (...services: Client[]) => {
  for (const service of services) await until(async () => (await cacheOf(service)).mode === 'on', 'the cache in use')
}

/*
 * Two service processes on one database and one Redis, for all tests that end with both of them using the cache. The last
 * of these kills one.
 */
const redis = await startRedis(t)
const env = { REDIS_URL: redis.url, WORKERS: '0', LOG_LEVEL: 'info' }
const a = await spawnService(t, env)
const b = await spawnService(t, env, a.databasePath)
await inUse(a, b)

/** A job that a worker elsewhere runs, and what was acknowledged of it so far: its progress only rises. */
const startRun = async (a: Client) => {
  const jobId = await a.submit('remote', {}, scopes)
  const claim = await a.askJson('/api/v1/worker/claim', {
    method: 'POST', body: { types: ['remote'], leaseSeconds: 3600 }, ...scopes
  })
  let done = 0
  let known = 0
  const complaints: string[] = []
  let reads = 0
  /** Reports on it through this service; once that is acknowledged, no reader may get less. */
  const report = async (service: Client): Promise<void> => {
    done++
    const answer = await service.ask(`/api/v1/worker/jobs/${jobId}/progress`, {
      method: 'POST', body: { done, total: 1_000_000 }, headers: { 'lease-token': claim.leaseToken }, ...scopes
    })
    if (answer.status === 200) known = Math.max(known, done)
    else complaints.push(`a report was answered ${answer.status}`)
  }
  const read = async (service: Client): Promise<void> => {
    const floor = known
    const answer = await service.ask(`/api/jobs/${jobId}/status`, scopes)
    if (answer.status !== 200) {
      complaints.push(`a read was answered ${answer.status}`)
      return
    }
    const seen = Number(
      (await answer.json() as { data: { progress: { done: number | null } } }).data.progress.done ?? 0
    )
    reads++
    if (seen < floor) complaints.push(`got ${seen} after ${floor}`)
    known = Math.max(known, seen)
  }
  return { jobId, report, read, complaints, reads: () => reads, known: () => known }
}

type Run = Awaited<ReturnType<typeof startRun>>

/** Reports through one, reads through all, until stopped. */
const startTraffic = ({ report, read, reads }: Run, writer: Client, readers: Client[]) => {
  let isStopped = false
  const repeat = async (work: () => Promise<void>) => { while (!isStopped) await work() }
  const loops = [repeat(() => report(writer)), ...[...readers, ...readers].map(service => repeat(() => read(service)))]
  return {
    some: async (count = 60) => {
      const goal = reads() + count
      await until(() => reads() >= goal, 'traffic')
    },
    stop: async () => {
      isStopped = true
      await Promise.all(loops)
    }
  }
}

const faults: Array<{
  name: string, strike: (redis: PrivateRedis) => Promise<void>, mend: (redis: PrivateRedis) => Promise<void>
}> = [
  { name: 'killed, and started again empty', strike: redis => redis.kill(), mend: redis => redis.restart() },
  {
    name: 'suspended for longer than anybody waits for it',
    strike: async redis => { redis.process().kill('SIGSTOP') },
    mend: async redis => { redis.process().kill('SIGCONT') }
  },
  {
    name: 'stopped for a while, and then answers commands that have timed out',
    strike: async redis => { await redis.client.call('CLIENT', 'PAUSE', '1500', 'ALL') },
    mend: async redis => { await until(async () => await redis.client.ping() === 'PONG', 'the end of the pause') }
  },
  {
    name: 'cut off from all of them',
    strike: async redis => { await redis.client.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes') },
    mend: async () => {}
  }
]

t.test('what one process has acknowledged or shown, the other never contradicts, whatever happens to Redis', async t => {
  const run = await startRun(a)
  const traffic = startTraffic(run, a, [a, b])
  for (const { name, strike, mend } of faults) {
    await traffic.some()
    await strike(redis)
    await traffic.some()
    await mend(redis)
    await traffic.some()
    await inUse(a, b)
    t.pass(`Redis was ${name}`)
  }
  await traffic.stop()
  t.same(run.complaints, [])
  t.ok(run.known() > 20)
})

t.test('an old snapshot of Redis does not bring back old versions', async t => {
  const run = await startRun(a)
  await run.report(a)
  let snapshot: Array<readonly [key: string, value: Buffer | null]> = []
  // A cell of a running job ends after two seconds, which may be short on a busy machine.
  await until(async () => {
    await run.read(b)
    const keys = await redis.client.keys('js:*')
    snapshot = await Promise.all(keys.map(async key => [key, await redis.client.dumpBuffer(key)] as const))
    return snapshot.some(([key, value]) => key.endsWith(run.jobId) && value !== null)
  }, 'the cell of the job')
  await run.report(a)
  await redis.kill()
  await redis.restart()
  await until(async () => await redis.client.ping().catch(() => '') === 'PONG')
  for (const [key, value] of snapshot) if (value !== null) await redis.client.restore(key, 0, value)
  for (let i = 0; i < 50; i++) {
    await run.read(b)
    await run.read(a)
  }
  await inUse(a, b)
  for (let i = 0; i < 20; i++) await run.read(i % 2 === 0 ? a : b)
  t.same(run.complaints, [])
})

const timed = async (work: () => Promise<void>): Promise<number> => {
  const began = performance.now()
  await work()
  return performance.now() - began
}

t.test('a process that was suspended uses no old view; meanwhile the other one waits for it once, and only when Redis fails', async t => {
  const run = await startRun(a)
  const stopped = async (work: () => Promise<void>) => {
    a.process.kill('SIGSTOP')
    await work()
    a.process.kill('SIGCONT')
  }
  await run.report(a)
  await run.read(a)
  await stopped(async () => {
    await run.report(b)
    await run.read(b)
    const { mode, reason } = await cacheOf(b)
    // On a busy machine Redis may be late as well.
    t.ok(mode === 'on' || /Redis timed out/.test(String(reason)), `that it does not answer is no reason to leave the cache: ${mode}, ${reason}`)
  })
  await run.read(a)
  t.same(run.complaints, [])

  await stopped(async () => {
    await redis.kill()
    const reportMs = await timed(() => run.report(b))
    const readsMs: number[] = []
    for (let i = 0; i < 21; i++) readsMs.push(await timed(() => run.read(b)))
    const medianMs = readsMs.sort((a, b) => a - b)[10] ?? Infinity
    t.ok(
      medianMs < reportMs / 2,
      `the report waited for the suspended process (${reportMs} ms), reads do not (${medianMs} ms)`
    )
    await redis.restart()
    await inUse(b)
    await run.report(b)
  })
  for (let i = 0; i < 20; i++) await run.read(a)
  await inUse(a, b)
  await run.report(a)
  await run.read(b)
  t.same(run.complaints, [])
})

t.test('a killed process does not delay the others, and another one can start in its place', async t => {
  const run = await startRun(a)
  await run.report(a)
  await a.kill('SIGKILL')
  await redis.kill()
  await run.report(b)
  await run.read(b)
  await redis.restart()
  await inUse(b)
  const again = await spawnService(t, env, a.databasePath)
  await inUse(again, b)
  await run.report(again)
  await run.read(b)
  t.same(run.complaints, [])
})

t.test('two processes with different Redis servers use none, report that, and respond correctly all the same', async t => {
  const [first, second] = await Promise.all([startRedis(t), startRedis(t)])
  const a = await spawnService(t, { REDIS_URL: first.url, WORKERS: '0' })
  const b: SpawnedService = await spawnService(t, { REDIS_URL: second.url, WORKERS: '0' }, a.databasePath)
  const run = await startRun(a)
  for (const writer of [a, b]) {
    const traffic = startTraffic(run, writer, [a, b])
    await traffic.some(100)
    await traffic.stop()
  }
  t.same(run.complaints, [])
  for (const service of [a, b]) {
    await until(async () => /another Redis/.test((await cacheOf(service)).reason ?? ''), 'the reason')
    t.match(await cacheOf(service), { kind: 'redis', status: 'degraded', mode: 'off' })
    t.match(await (await service.ask('/metrics')).text(), /^job_status_cache_mode\{mode="off"\} 1$/m)
    // On a starved machine a process may lose sight of the other for a while, which is reported, too.
    const reports = service.lines.filter(line => /"msg":"cache (?:in|warm|dis)/.test(line)).map(line => {
      const { msg, reason } = JSON.parse(line)
      return `${msg}: ${reason}`
    })
    t.match(reports.at(-1), /another Redis/)
    t.same(reports.filter((report, at) => report === reports[at - 1]), [], 'no state of the cache is reported twice in a row')
  }
  await b.kill('SIGTERM')
  await inUse(a)
})

t.test('a process alone whose Redis dies continues at once', async t => {
  const redis = await startRedis(t)
  const a = await spawnService(t, { REDIS_URL: redis.url, WORKERS: '0' })
  const run = await startRun(a)
  await run.read(a)
  await redis.kill()
  for (let i = 0; i < 20; i++) await run.read(a)
  await run.report(a)
  t.same(run.complaints, [])
  t.equal(await a.sql('SELECT count(*) FROM CacheNode'), '1', 'there was no process to wait for')
})
