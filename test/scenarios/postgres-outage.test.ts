import pg from 'pg'
import t, { type Test } from 'tap'
import { jsonOf } from '../helpers/client.ts'
import { storeLines, warningsIn } from '../helpers/log-lines.ts'
import { type PrivatePostgres, startPostgres } from '../helpers/postgres.ts'
import { startRedis } from '../helpers/redis.ts'
import { type SpawnedService, spawnService } from '../helpers/service.ts'
import { until, untilWithin } from '../helpers/until.ts'

/*
 * What a process answers while Postgres is away, hangs, or is locked by another program, and that it comes back by
 * itself.
 */

// As docs/guarantees.md says.
const recoveryMs = 5000
// So long a process may answer from the cache after its last reading of the database.
const leaseMs = 1000

// Ended jobs, whose entries stay in the cache. Only the first one is in it.
const [cached, cold] = ['cached', 'cold']

// Only ends a hang: each trial to end a server in time takes seconds on a busy machine.
const trialsMs = 300_000

type Outage = {
  own: PrivatePostgres
  service: SpawnedService
  url: string
  poll: (jobId: string) => Promise<Response>
  list: () => Promise<Response>
  submit: (headers?: Record<string, string>) => Promise<Response>
  /** Fails unless the service answers everything in time, and the cache is used. */
  comesBack: () => Promise<void>
}

const databaseOf = (url: string): string => new URL(url).pathname.slice(1)

const startOutage = async (t: Test, workers: string): Promise<Outage> => {
  const [own, redis] = await Promise.all([startPostgres(t), startRedis(t)])
  const url = await own.createDatabase(t)
  const env = { DATABASE_URL: url, REDIS_URL: redis.url, WORKERS: workers, LOG_LEVEL: 'info' }
  const service = await spawnService(t, env)
  const poll = (jobId: string) => service.ask(`/api/v1/jobs/${jobId}`)
  const submit = (headers = {}) =>
    service.ask('/api/v1/jobs', { method: 'POST', headers, body: { type: 'remote', input: {} } })
  const list = () => service.ask('/api/v1/jobs?limit=5')
  const comesBack = async () => {
    await Promise.all([
      untilWithin(recoveryMs, async () => (await list()).status === 200, 'a read of the store'),
      untilWithin(recoveryMs, async () => (await submit()).status === 202, 'a write'),
      untilWithin(recoveryMs, async () => (await service.askJson('/readyz')).status === 'ready', 'the use of the cache')
    ])
  }
  await own.sql(
    `INSERT INTO JobExecutionLog (jobId, status) VALUES ('${cached}', 'Succeeded'), ('${cold}', 'Succeeded')`, databaseOf(url)
  )
  return { own, service, url, poll, list, submit, comesBack }
}

/** Polls the first job until the answer comes from the cache. */
const untilCached = async ({ service, poll }: Outage) => {
  const countHits = async () => Number(
    /^job_status_reads_total\{source="cache"\} (\d+)$/m.exec(await (await service.ask('/metrics')).text())?.[1]
  )
  await until(async () => {
    const before = await countHits()
    return (await poll(cached)).status === 200 && await countHits() > before
  }, 'an answer from the cache')
}

/**
 * Ends the server's answers while the process may still answer from the cache. Returns how many lines it had logged by
 * then. On a busy machine a lease is not always renewed in time; then the server comes back, and it is tried again.
 */
const endWhileLeased = async (
  outage: Outage, end: () => Promise<void>, mend: () => Promise<void>
) => await until(async () => {
  await outage.comesBack()
  await untilCached(outage)
  const logged = outage.service.lines.length
  // On a busy machine the processes of a server that is killed take longer to end than the lease lasts.
  const ending = end()
  const { status } = await outage.poll(cached)
  await ending
  if (status === 200) return logged
  await mend()
  return undefined
}, 'an answer while the lease lasts', trialsMs)

const requireUnavailable = async (t: Test, answer: Response, what: string) => {
  t.equal(answer.status, 503, what)
  t.ok(Number(answer.headers.get('retry-after')) >= 1)
  t.match(await jsonOf(answer), { code: 'STORE_UNAVAILABLE' })
}

/** Fails unless cached answers end with the lease. */
const endsWithLease = async (t: Test, { poll }: Outage) => {
  const seen: number[] = []
  const last = await untilWithin(leaseMs, async () => {
    const answer = await poll(cached)
    seen.push(answer.status)
    return answer.status === 503 && answer
  }, 'the end of the lease')
  t.ok(seen.every(status => status === 200 || status === 503), `never unknown: ${[...new Set(seen)].join(', ')}`)
  await requireUnavailable(t, last, 'a job that was cached')
}

/** Fails unless everything is 503 at once, each time. */
const failsAll = async (t: Test, { service, poll, list, submit }: Outage, times: number) => {
  for (let time = 0; time < times; time++) {
    await requireUnavailable(t, await poll(cold), 'a job that was not cached')
    await requireUnavailable(t, await poll('unknown'), 'not known is not the same as not there')
    await requireUnavailable(t, await list(), 'a list')
    await requireUnavailable(t, await submit(), 'a submission')
    const ready = await service.ask('/readyz')
    t.equal(ready.status, 503)
    t.match(await ready.json(), { status: 'unavailable', store: { status: 'down' } })
  }
}

/** Fails unless the log has one line for the beginning of the outage and one for its end, and repeats no other. */
const isLoggedOnce = async (t: Test, { service }: Outage, from: number) => {
  const logged = () => storeLines(service.lines.slice(from))
  await until(() => logged().length >= 2, 'the line about the end of the outage')
  t.same(logged(), [
    'the store cannot be read: requests that the cache cannot answer get 503', 'the store can be read again'
  ])
  const warnings = warningsIn(service.lines.slice(from))
  t.equal(new Set(warnings).size, warnings.length, `one line each, not for each request: ${warnings.join(', ')}`)
}

t.test('a server that goes away fails requests with 503, and is used again when it is back', async t => {
  const outage = await startOutage(t, '1')
  const { own, service } = outage
  const from = await endWhileLeased(outage, own.kill, own.restart)
  await endsWithLease(t, outage)
  await failsAll(t, outage, 30)
  const readiness = await jsonOf(service.ask('/readyz'))
  // The other one is that of a connection which the server took along.
  t.match(readiness, { store: { reason: /^(ECONNREFUSED|Connection terminated unexpectedly)$/ } })
  t.notMatch(JSON.stringify(readiness), new RegExp(`127\\.0\\.0\\.1|${own.port}`), 'it needs no token, so it names no address')
  await own.restart()
  await outage.comesBack()
  await isLoggedOnce(t, outage, from)
})

t.test('a suspended server holds up no request: after the lease of the cache all are 503 at once', async t => {
  const outage = await startOutage(t, '1')
  const { own } = outage
  const suspend = async () => { own.pause() }
  const resume = async () => { own.resume() }
  const from = await endWhileLeased(outage, suspend, resume)
  await endsWithLease(t, outage)
  // Each of them by itself would wait for seconds.
  await failsAll(t, outage, 30)
  own.resume()
  await outage.comesBack()
  await isLoggedOnce(t, outage, from)
})

/** A session of another program on the database. */
const openSession = async (t: Test, { url }: Outage): Promise<pg.Client> => {
  const client = new pg.Client({ connectionString: url })
  client.on('error', () => {})
  await client.connect()
  t.teardown(() => client.end())
  return client
}

/** How many sessions wait for a lock. */
const countWaiting = async ({ own, url }: Outage): Promise<number> => Number((await own.sql(
  `SELECT count(*) FROM pg_stat_activity WHERE datname = '${databaseOf(url)}' AND wait_event_type = 'Lock'`
)).rows[0]?.count)

/** Clients that each ask again once they are answered. `ask` gets a number that no other request has. */
const startClients = (count: number, ask: (request: number) => Promise<Response>) => {
  const answers: Response[] = []
  let requests = 0
  let isOver = false
  const asking = Promise.all(Array.from({ length: count }, async () => {
    while (!isOver) answers.push(await ask(requests++))
  }))
  return {
    answers,
    stop: async () => {
      isOver = true
      await asking
    }
  }
}

/**
 * Fails unless the cached job is answered, again and again. While the table is locked, a read that waits for it never is;
 * so it may be asked for again where a busy machine has renewed a lease too late.
 */
const isCachedAnswered = async (t: Test, { poll }: Outage) => {
  let failures = 0
  for (let answered = 0; answered < 50; answered++) {
    await until(async () => {
      const { status } = await poll(cached)
      if (status !== 200) failures++
      return status === 200
    }, 'an answer')
  }
  t.ok(failures < 50, `${failures} of them failed`)
}

const sizes = { writes: 10, reads: 4 }

t.test('while all connections for writes wait for a lock, reads go on, and the writes are 503', async t => {
  const outage = await startOutage(t, '0')
  const { service, list, submit, comesBack } = outage
  await comesBack()
  await untilCached(outage)
  const holder = await openSession(t, outage)
  await holder.query('BEGIN; LOCK TABLE JobExecutionLog IN EXCLUSIVE MODE')
  // With a key a submission has a transaction of its own, so that there is no moment in which a connection is free.
  const writers = startClients(10 * sizes.writes, request => submit({ 'idempotency-key': `key-${request}` }))
  await until(async () => await countWaiting(outage) >= sizes.writes, 'all connections to wait')
  await isCachedAnswered(t, outage)
  // Each of them would wait for seconds behind the writes.
  const readsTwenty = async () => {
    for (let time = 0; time < 10; time++) {
      for (const { status } of [await list(), await service.ask(`/api/v1/jobs/${cold}/attempts`)]) {
        if (status !== 200) return false
      }
    }
    return true
  }
  const meanwhile: Array<Promise<unknown>> = []
  await until(async () => {
    let isWaiting = true
    meanwhile.push(submit({ 'idempotency-key': 'meanwhile' }).finally(() => { isWaiting = false }))
    return await readsTwenty() && isWaiting
  }, 'many reads of the store during one write')
  await until(() => writers.answers.length >= sizes.writes, 'the end of the first writes')
  t.ok(await countWaiting(outage) > 0, 'the lock is still held')
  for (const answer of writers.answers) await requireUnavailable(t, answer, 'a submission')
  await holder.query('ROLLBACK')
  await comesBack()
  await Promise.all([writers.stop(), ...meanwhile])
})

t.test('behind a queue for a lock cached reads go on, all else is 503, and all is answered once it is released', async t => {
  const outage = await startOutage(t, '0')
  const { poll, list, submit, comesBack } = outage
  await comesBack()
  await untilCached(outage)
  // As a change of the schema that waits for a long query: what comes after it waits, too.
  const [querying, locking] = [await openSession(t, outage), await openSession(t, outage)]
  await querying.query('BEGIN; SELECT count(*) FROM JobExecutionLog')
  const locked = locking.query('BEGIN; LOCK TABLE JobExecutionLog')
  await until(async () => await countWaiting(outage) === 1, 'the queue')
  const writers = startClients(3 * sizes.writes, () => submit())
  const readers = startClients(5 * sizes.reads, request =>
    request % 2 === 0 ? list() : poll(`unknown-${request}`))
  await until(
    async () => await countWaiting(outage) >= 1 + sizes.writes + sizes.reads, 'all connections to wait behind it'
  )
  await isCachedAnswered(t, outage)
  await querying.query('ROLLBACK')
  await locked
  await isCachedAnswered(t, outage)
  await requireUnavailable(t, await poll(cold), 'a job that was not cached')
  for (const { answers } of [readers, writers]) {
    await until(() => answers.length >= sizes.writes, 'the end of the first requests')
    for (const answer of answers) await requireUnavailable(t, answer, 'what needs the table')
  }
  await locking.query('ROLLBACK')
  await comesBack()
  t.equal((await poll(cold)).status, 200)
  await Promise.all([readers.stop(), writers.stop()])
})
