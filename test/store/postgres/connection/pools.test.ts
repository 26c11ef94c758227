import { createServer } from 'node:net'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { Kysely, sql } from 'kysely'
import t, { type Test } from 'tap'
import { parseConnectionUrl } from '../../../../src/store/postgres/connection/connection-url.ts'
import { toDialect } from '../../../../src/store/postgres/connection/driver.ts'
import { createPools, type Pool, type Pools } from '../../../../src/store/postgres/connection/pools.ts'
import type { Tables } from '../../../../src/store/tables.ts'
import { startPostgresPair } from '../../../helpers/postgres-pair.ts'
import { startPostgres } from '../../../helpers/postgres.ts'
import { until } from '../../../helpers/until.ts'
import { freePort } from '../../../helpers/redis.ts'

const server = await startPostgres(t)

const openPools = (t: Test, url: string): Pools => {
  const pools = createPools(parseConnectionUrl(url))
  t.teardown(async () => { await Promise.all(Object.values(pools).map(({ close }) => close())) })
  return pools
}

const open = async (t: Test) => {
  const url = await server.createDatabase(t)
  const pools = openPools(t, url)
  const db = new Kysely<Tables>({ dialect: toDialect({ ...pools.writes, close: async () => {} }) })
  const execute = (statement: string) => server.sql(statement, new URL(url).pathname.slice(1))
  await execute('CREATE TABLE ServiceState (name text PRIMARY KEY, value text NOT NULL)')
  await execute('CREATE TABLE JobQueue (jobId text PRIMARY KEY, leaseExpiresAt bigint)')
  return { url, pools, db, execute }
}

t.test('finds the columns of a catalogue in small letters under the names of the statement', async t => {
  const { db, execute } = await open(t)
  await execute("INSERT INTO JobQueue (jobId, leaseExpiresAt) VALUES ('j', 1790000000000)")
  const row = { jobId: 'j', leaseExpiresAt: 1790000000000 }
  t.strictSame(await db.selectFrom('JobQueue').select(['jobId', 'leaseExpiresAt']).execute(), [row])
  t.strictSame(await db.selectFrom('JobQueue as q').select(['q.jobId as jobId', 'q.leaseExpiresAt']).execute(), [row])
  const inner = db.selectFrom('JobQueue').select(['jobId', 'leaseExpiresAt']).as('inside')
  t.strictSame(await db.selectFrom(inner).select('inside.leaseExpiresAt').execute(), [{ leaseExpiresAt: row.leaseExpiresAt }])
  t.strictSame(await db.with('ends', of => of.selectFrom('JobQueue').select('jobId'))
    .selectFrom('ends').select('jobId').execute(), [{ jobId: 'j' }])
  t.strictSame(await db.updateTable('JobQueue').set({ leaseExpiresAt: 5 }).returning('leaseExpiresAt').execute(), [
    { leaseExpiresAt: 5 }
  ])
  t.strictSame((await sql`SELECT jobId AS ${sql.id('it')} FROM JobQueue`.execute(db)).rows, [{ it: 'j' }])
})

t.test('a statement is prepared once a connection', async t => {
  const { db } = await open(t)
  await db.connection().execute(async one => {
    for (const name of ['a', 'b', 'c']) await one.selectFrom('ServiceState').select('value').where('name', '=', name).execute()
    const { rows } = await sql<{ statement: string, calls: number }>`
      SELECT statement, generic_plans AS calls FROM pg_prepared_statements WHERE statement LIKE '%servicestate%'
        AND statement NOT LIKE '%pg_prepared%'`.execute(one)
    t.strictSame(rows, [{ statement: 'select "value" from "servicestate" where "name" = $1', calls: 3 }])
  })
})

t.test('a transaction is committed as a whole or not at all', async t => {
  const { db, execute } = await open(t)
  const insert = (tx: Kysely<Tables>, name: string) => tx.insertInto('ServiceState').values({ name, value: '' }).execute()
  await db.transaction().execute(tx => insert(tx, 'a'))
  await t.rejects(db.transaction().execute(async tx => {
    await insert(tx, 'b')
    throw new Error('no')
  }), { message: 'no' })
  await t.rejects(db.transaction().execute(async tx => {
    await insert(tx, 'c')
    await insert(tx, 'a').catch(() => {})
  }), { name: 'CommitRefused' }, 'a failure that the work ignores does not become a commit')
  t.strictSame((await execute('SELECT name FROM ServiceState')).rows, [{ name: 'a' }])
})

t.test('a connection that breaks is closed, and the next statement has another', async t => {
  const { db, execute } = await open(t)
  const pid = (from: Kysely<Tables>) => sql<{ pid: number }>`SELECT pg_backend_pid() AS pid`.execute(from)
    .then(({ rows: [row] }) => row?.pid ?? 0)
  let broken = 0
  await t.rejects(db.transaction().execute(async tx => {
    broken = await pid(tx)
    await execute(`SELECT pg_terminate_backend(${broken}, 5000)`)
    await pid(tx)
  }), { name: 'ConnectionLost' })
  t.not(await pid(db), broken)
  const idle = await pid(db)
  await execute(`SELECT pg_terminate_backend(${idle}, 5000)`)
  await t.resolves(pid(db).catch(() => pid(db)), 'an idle one as well')
})

t.test('a connection whose answer did not come in time is closed: no statement waits behind another', async t => {
  const { pools, execute } = await open(t)
  // Its limit is the shortest. The last connection that is free is the first to be used again.
  const db = new Kysely<Tables>({ dialect: toDialect({ ...pools.epoch, close: async () => {} }) })
  const readPid = async () => (await sql<{ pid: number }>`SELECT pg_backend_pid() AS pid`.execute(db)).rows[0]?.pid
  // On a loaded machine, it may take longer than the limit to connect.
  const pid = () => until(() => readPid().catch(() => undefined), 'an answer')
  const busy = await pid()
  const isBusy = async () =>
    (await execute(`SELECT 1 FROM pg_stat_activity WHERE pid = ${busy} AND query LIKE 'SELECT pg_sleep%'`)).rowCount === 1
  await t.rejects(sql`SELECT pg_sleep(30)`.execute(db), { name: 'ConnectionLost', message: 'Query read timeout' })
  t.ok(await isBusy(), 'its statement goes on')
  t.not(await pid(), busy)
  await execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'")
})

t.test('a server that does not answer is not waited for', async t => {
  const { pools, execute } = await open(t)
  const client = await pools.epoch.connect()
  await t.rejects(client.query('SELECT pg_sleep(30)'), { message: 'Query read timeout' })
  client.release(true)
  await execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%'")
})

t.test('only migrations and moves, which may take long, have no time limits', async t => {
  const { pools } = await open(t)
  const limits = async (pool: keyof Pools) => {
    const client = await pools[pool].connect()
    const { rows: [row] } = await client.query(`SELECT current_setting('statement_timeout') AS statement,
      current_setting('lock_timeout') AS lock, current_setting('idle_in_transaction_session_timeout') AS idle`)
    client.release()
    const { connectionParameters: { query_timeout: answer } } =
      client as unknown as { connectionParameters: { query_timeout: unknown } }
    return { ...row, answer }
  }
  t.same(await limits('bulk'), { statement: '0', lock: '0', idle: '0', answer: 0 })
  t.same(await limits('writes'), { statement: '5s', lock: '1s', idle: '10s', answer: 8000 })
})

t.test('no pool waits for another', async t => {
  const { pools } = await open(t)
  const taken = await Promise.all(Array.from({ length: 10 }, () => pools.writes.connect()))
  const others = [await pools.reads.connect(), await pools.epoch.connect()]
  t.equal(others.length, 2)
  for (const client of [...taken, ...others]) client.release()
})

t.test('of several hosts, it takes the one that answers and is no replica', async t => {
  const { url } = await open(t)
  const { pathname } = new URL(url)
  const dead = await freePort()
  // It accepts connections and never says a word.
  const silent = createServer(() => {}).listen(0, '127.0.0.1')
  await once(silent, 'listening')
  t.teardown(() => { silent.close() })
  const { port } = silent.address() as AddressInfo
  const hosts = [`127.0.0.1:${dead}`, `127.0.0.1:${port}`, `127.0.0.1:${server.port}`]
  const pools = openPools(t, `postgres://postgres@${hosts.join()}${pathname}?connect_timeout=1`)
  const client = await pools.writes.connect()
  t.equal(client.port, server.port)
  client.release()
  const again = await pools.reads.connect()
  t.equal(again.port, server.port, 'and goes on with it')
  again.release()
  const none = openPools(t, `postgres://postgres@127.0.0.1:${dead},127.0.0.1:${dead}${pathname}`)
  await t.rejects(none.writes.connect(), { name: 'ConnectionLost', message: /ECONNREFUSED/ })
})

t.test('passes over a replica, and says so where there is no other host', async t => {
  const { servers: [primary, standby] } = await startPostgresPair(t)
  if (primary === undefined || standby === undefined) throw new Error('there are two')
  const connect = async (...servers: Array<{ port: number }>) => {
    const hosts = servers.map(({ port }) => `127.0.0.1:${port}`)
    const client = await openPools(t, `postgres://postgres@${hosts.join()}/postgres`).writes.connect()
    client.release()
    return client.port
  }
  t.equal(await connect(standby, primary), primary.port)
  await t.rejects(connect(standby), {
    name: 'ReplicaReached', message: 'it is a replica, on which nothing can be written'
  })
})

t.test('sessions have the settings of the service, and those of others that do not contradict', async t => {
  const { url, execute } = await open(t)
  await execute(`ALTER DATABASE ${new URL(url).pathname.slice(1)} SET synchronous_commit = local`)
  await execute(`ALTER ROLE postgres IN DATABASE ${new URL(url).pathname.slice(1)} SET synchronous_commit = remote_write`)
  const options = encodeURIComponent('-c synchronous_commit=off -c work_mem=5MB')
  const pools = openPools(t, `${url}?options=${options}&search_path=${encodeURIComponent('jobs, public')}`)
  const show = async (pool: Pool, name: string) => {
    const client = await pool.connect()
    const { rows: [row] } = await client.query<object>(`SHOW ${name}`)
    client.release()
    return Object.values(row ?? {})[0] as string
  }
  const expected = {
    synchronous_commit: 'on',
    work_mem: '5MB',
    search_path: 'jobs, public',
    jit: 'off',
    plan_cache_mode: 'force_generic_plan',
    default_transaction_isolation: 'read committed',
    statement_timeout: '5s',
    lock_timeout: '1s',
    idle_in_transaction_session_timeout: '10s'
  }
  for (const [name, value] of Object.entries(expected)) t.equal(await show(pools.writes, name), value, name)
  for (const name of ['statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout']) {
    t.equal(await show(pools.bulk, name), '0', `${name} of what reads and writes whole tables`)
  }
})
