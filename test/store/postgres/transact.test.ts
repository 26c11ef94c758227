import { setTimeout as delay } from 'node:timers/promises'
import { connect, createServer } from 'node:net'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { Kysely, sql } from 'kysely'
import pg from 'pg'
import t, { type Test } from 'tap'
import { parseConnectionUrl } from '../../../src/store/postgres/connection/connection-url.ts'
import { toDialect } from '../../../src/store/postgres/connection/driver.ts'
import { createPools } from '../../../src/store/postgres/connection/pools.ts'
import { createTransact } from '../../../src/store/postgres/transact.ts'
import { keepStatement } from '../../../src/store/sql/dialect.ts'
import type { Tx } from '../../../src/store/store.ts'
import { together } from '../../../src/store/together.ts'
import type { Tables } from '../../../src/store/tables.ts'
import { installLocale } from '../../helpers/locale.ts'
import { startPostgres } from '../../helpers/postgres.ts'
import { until } from '../../helpers/until.ts'

const german = installLocale(t, 'de_DE')
const server = await startPostgres(t)

const open = async (t: Test, { url = '', now = () => 0 }: { url?: string, now?: () => number } = {}) => {
  const own = await server.createDatabase(t)
  const database = new URL(own).pathname.slice(1)
  const writer = new Kysely<Tables>({
    dialect: toDialect(createPools(parseConnectionUrl(url === '' ? own : `${url}/${database}`)).writes)
  })
  t.teardown(() => writer.destroy())
  const execute = async (statement: string) => (await server.sql(statement, database)).rows as unknown[]
  await execute('CREATE TABLE ServiceState (name text PRIMARY KEY, value text NOT NULL)')
  return { transact: createTransact({ writer, now, random: () => 0 }), execute, database }
}

const insert = (tx: Tx, name: string) => tx.insertInto('ServiceState').values({ name, value: '0' }).execute()

const insertStatement = keepStatement((db, { name }: { name: string }) =>
  db.insertInto('ServiceState').values({ name, value: '0' }))

const add = (tx: Tx, name: string, amount: number) => tx.updateTable('ServiceState')
  .set({ value: sql<string>`(value::int + ${amount}::int)::text` }).where('name', '=', name).execute()

t.test('runs works at once, each as a whole', async t => {
  const { transact, execute } = await open(t)
  const both = new Set<string>()
  const meet = async (name: string) => {
    both.add(name)
    while (both.size < 2) await delay(1)
  }
  const working = Promise.all(['a', 'b'].map(name => transact(async tx => {
    await insert(tx, name)
    await meet(name)
    return name
  })))
  t.equal(transact.waiting(), 2)
  t.same(await working, ['a', 'b'])
  t.equal(transact.waiting(), 0)
  t.same(await execute('SELECT count(*)::int AS count FROM ServiceState'), [{ count: 2 }])
})

t.test('runs statements that are begun at once in their order, in the same transaction', async t => {
  const { transact, execute } = await open(t)
  const read = (tx: Tx) => tx.selectFrom('ServiceState').select('value').where('name', '=', 'a').executeTakeFirst()
  const found = await transact(tx => together(read(tx), insert(tx, 'a'), read(tx), add(tx, 'a', 5), read(tx)))
  t.same([found[0], found[2], found[4]], [undefined, { value: '0' }, { value: '5' }])
  await t.rejects(transact(tx => together(add(tx, 'a', 1), insert(tx, 'a'), add(tx, 'a', 1))), { code: '23505' })
  t.same(await execute('SELECT value FROM ServiceState'), [{ value: '5' }], 'the failed one was undone as a whole')
})

t.test('runs works again whose statement waited too long for a lock, however many followed it', async t => {
  const { transact, execute } = await open(t)
  await execute("INSERT INTO ServiceState VALUES ('a', '0')")
  const { promise: ended, resolve: end } = Promise.withResolvers<null>()
  const { promise: locked, resolve: lock } = Promise.withResolvers<null>()
  const holding = transact(async tx => {
    await add(tx, 'a', 1)
    lock(null)
    await ended
  })
  await locked
  let begun = 0
  const waiting = transact(async tx => {
    if (++begun === 2) end(null)
    await together(
      tx.selectFrom('ServiceState').select('name').forUpdate().execute(), add(tx, 'a', 10), add(tx, 'a', 100))
  })
  await Promise.all([holding, waiting])
  t.ok(begun > 1)
  t.same(await execute('SELECT value FROM ServiceState'), [{ value: '111' }])
})

const insertLast = (tx: Tx, name: string) => insertStatement(tx, { name }, { isLast: true })

for (const group of [undefined, 'group']) {
  const how = group === undefined ? 'alone' : 'in a group'
  t.test(`commits with the last statement of a work, ${how}`, async t => {
    const { transact, execute } = await open(t)
    const isThere = async (name: string) =>
      (await execute(`SELECT FROM ServiceState WHERE name = '${name}'`)).length > 0
    await transact(async tx => {
      await insertLast(tx, 'a')
      await until(async () => await isThere('a'), 'the commit')
    }, group)
    await t.rejects(transact(async tx => {
      await insertLast(tx, 'b')
      await insert(tx, 'c')
    }, group), { message: 'a work sent a statement after its last one' })
    t.same([await isThere('b'), await isThere('c')], [true, false])
    await t.rejects(transact(tx => together(insert(tx, 'c'), insertLast(tx, 'a')), group), { code: '23505' })
    t.equal(await isThere('c'), false, 'and takes nothing back where the last one fails')
    await transact(tx => insertLast(tx, 'c'), group)
  })
}

t.test('a group commits with the last statement of all its works', async t => {
  const { transact, execute } = await open(t)
  const names = async () => (await execute('SELECT name FROM ServiceState ORDER BY name') as Array<{ name: string }>)
    .map(({ name }) => name)
  let seen: string[] | undefined
  await Promise.all([
    transact(tx => insertLast(tx, 'a'), 'group'),
    transact(async tx => {
      await insert(tx, 'b')
      seen = await names()
      await insertLast(tx, 'c')
    }, 'group')
  ])
  t.same([seen, await names()], [[], ['a', 'b', 'c']])
  let begun = 0
  const settled = await Promise.allSettled([
    transact(tx => insertLast(tx, 'a'), 'group'),
    transact(tx => {
      begun++
      return insertLast(tx, 'd')
    }, 'group')
  ])
  t.match(settled, [{ reason: { code: '23505' } }, { status: 'fulfilled' }])
  t.equal(begun, 2)
  t.same(await names(), ['a', 'b', 'c', 'd'])
})

t.test('throws what a work throws, undoes it and does not run it again', async t => {
  const { transact, execute } = await open(t)
  let begun = 0
  const run = (work: (tx: Tx) => Promise<unknown>) => transact(async tx => {
    begun++
    await insert(tx, 'undone')
    return await work(tx)
  })
  const ours = new TypeError('ours')
  await t.rejects(run(() => Promise.reject(ours)), ours)
  await t.rejects(run(tx => insert(tx, 'undone')), { code: '23505' })
  await t.rejects(run(tx => sql`SELECT 1 FROM nothing`.execute(tx)), { code: 'STORE_UNAVAILABLE', cause: { code: '42P01' } })
  t.equal(begun, 3)
  t.same(await execute('SELECT * FROM ServiceState'), [])
})

t.test('runs works again that lost a deadlock', async t => {
  const { transact, execute } = await open(t)
  await execute("INSERT INTO ServiceState VALUES ('a', '0'), ('b', '0')")
  let [begun, locked] = [0, 0]
  await Promise.all([['a', 'b'], ['b', 'a']].map(([first = '', second = '']) => transact(async tx => {
    begun++
    await add(tx, first, 1)
    locked++
    while (locked < 2) await delay(1)
    await add(tx, second, 10)
  })))
  t.ok(begun > 2, 'one of them began again')
  t.same(await execute('SELECT name, value FROM ServiceState ORDER BY name'), [
    { name: 'a', value: '11' }, { name: 'b', value: '11' }
  ])
})

t.test('decides alike whatever the language of the server', async t => {
  const { transact, execute, database } = await open(t)
  await server.sql(`ALTER DATABASE ${database} SET lc_messages = '${german}'`)
  await transact(tx => insert(tx, 'a'))
  await t.rejects(transact(tx => insert(tx, 'a')), { code: '23505', severity: 'FEHLER' }, 'a violation is passed on')
  let begun = 0
  await transact(async tx => {
    if (++begun < 3) await sql`DO $$ BEGIN RAISE SQLSTATE '40001'; END $$`.execute(tx)
    await insert(tx, 'b')
  })
  t.equal(begun, 3, 'a conflict is repeated')
  const pid = async () => (await transact(tx => sql<{ pid: number }>`SELECT pg_backend_pid() AS pid`.execute(tx))).rows[0]?.pid
  const before = await pid()
  await t.rejects(transact(tx => sql`SELECT 1 FROM nothing`.execute(tx)), { cause: { code: '42P01' } })
  t.equal(await pid(), before, 'an error of a statement ends no connection')
  await t.rejects(transact(async tx => {
    await execute(`SELECT pg_terminate_backend(${before}, 5000)`)
    await insert(tx, 'c')
  }), { code: 'STORE_UNAVAILABLE', cause: { name: 'ConnectionLost' } }, 'and the end of a session is the end of one')
})

t.test('waits for a lock, and then is unavailable', async t => {
  let clockMs = 0
  const { transact, execute, database } = await open(t, { now: () => clockMs })
  await execute("INSERT INTO ServiceState VALUES ('a', '0')")
  await transact(async tx => {
    await add(tx, 'a', 1)
    clockMs = 4000
    let begun = 0
    await t.rejects(transact(async inner => {
      begun++
      if (begun === 2) clockMs = 9000
      await add(inner, 'a', 1)
    }), { code: 'STORE_UNAVAILABLE', facts: { retryAfterSeconds: 1 }, cause: { code: '55P03' } })
    t.equal(begun, 2, 'one trial within the time, and one that ends after it')
  })
  t.same(await execute('SELECT value FROM ServiceState'), [{ value: '1' }], database)
})

t.test('a work that has waited for its time limit before its turn does not begin any more', async t => {
  let ms = 0
  const { transact, execute, database } = await open(t, { now: () => ms })
  const holder = new pg.Client(server.urlOf(database))
  await holder.connect()
  await holder.query('BEGIN; LOCK TABLE ServiceState')
  let begun = 0
  const ended = Promise.allSettled(Array.from({ length: 100 }, (_, index) => transact(tx => {
    begun++
    return insert(tx, `n${index}`)
  }, 'inserts')))
  // As many as a group may have.
  await until(() => begun === 32, 'the first group')
  ms = 5000
  for (const each of await ended) t.match(each, { status: 'rejected', reason: { code: 'STORE_UNAVAILABLE' } })
  t.equal(begun, 32, 'neither those behind it nor, once more, those of the group')
  await holder.end()
  t.same(await execute('SELECT value FROM ServiceState'), [])
})

t.test('never repeats a commit whose answer is lost', async t => {
  let isArmed = true
  let isCut = false
  // Takes the first COMMIT to the server, and not its answer to the client.
  const proxy = createServer(client => {
    const upstream = connect(server.port, '127.0.0.1')
    client.on('data', data => {
      isCut = isArmed && data.includes('commit\0')
      upstream.write(data)
    })
    upstream.on('data', data => { if (isCut) client.destroy(); else client.write(data) })
    for (const [one, other] of [[client, upstream], [upstream, client]] as const) {
      one.on('error', () => {})
      one.on('close', () => { other.destroy() })
    }
  }).listen(0, '127.0.0.1')
  await once(proxy, 'listening')
  t.teardown(() => { proxy.close() })
  const { port } = proxy.address() as AddressInfo
  const { transact, execute } = await open(t, { url: `postgres://postgres@127.0.0.1:${port}` })
  let begun = 0
  await t.rejects(transact(async tx => {
    begun++
    await insert(tx, 'a')
  }), { code: 'STORE_UNAVAILABLE', cause: { name: 'ConnectionLost' } })
  t.equal(begun, 1)
  t.same(await execute('SELECT name FROM ServiceState'), [{ name: 'a' }], 'it was committed')
  isArmed = false
  await transact(tx => insert(tx, 'b'))
  t.equal((await execute('SELECT name FROM ServiceState')).length, 2, 'the next one has a new connection')
})

t.test('is unavailable while the server is away, and goes on when it is back', async t => {
  const { transact } = await open(t)
  await transact(tx => insert(tx, 'before'))
  await server.kill()
  await t.rejects(transact(tx => insert(tx, 'a')), { code: 'STORE_UNAVAILABLE' })
  await t.rejects(transact(tx => insert(tx, 'a')), { code: 'STORE_UNAVAILABLE', cause: { message: /ECONNREFUSED/, code: 'ECONNREFUSED' } })
  await server.restart()
  await transact(tx => insert(tx, 'a'))
})
