import { sql } from 'kysely'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { openDatabase } from '../../../src/store/sqlite/database.ts'
import { recordQuery } from '../../../src/store/sqlite/readers/prepared-queries.ts'
import { insertJob } from '../../../src/store/tx/jobs.ts'
import { sqlite3 } from '../../helpers/databases.ts'
import { queuedJob } from '../jobs.ts'
import { openForeign, openStore } from '../open.ts'

t.test('the writing connection has the settings of a system of record', async t => {
  const { database } = await openStore(t)
  const pragma = async (name: string): Promise<unknown> =>
    Object.values(
      (await sql<Record<string, unknown>>`PRAGMA ${sql.raw(name)}`.execute(database.writer)).rows[0] ?? {}
    )[0]
  t.equal(await pragma('journal_mode'), 'wal')
  t.equal(await pragma('synchronous'), 2, 'FULL: an acknowledged commit survives a power cut')
  t.equal(await pragma('busy_timeout'), 0, 'SQLite would wait for another program by holding the event loop')
  t.equal(await pragma('journal_size_limit'), 64 * 1024 * 1024)
  t.equal(await pragma('trusted_schema'), 0)
  const { rows: [found] } = await sql<{ version: string }>`SELECT sqlite_version() AS version`.execute(database.writer)
  t.ok((found?.version ?? '').localeCompare('3.51.3', 'en', { numeric: true }) >= 0, 'without the WAL reset bug')
})

t.test('the reading connection cannot write', async t => {
  const { database: { reader } } = await openStore(t)
  t.equal(reader.readonly, true)
  t.equal(reader.pragma('query_only', { simple: true }), 1)
  t.equal(reader.pragma('journal_mode', { simple: true }), 'wal')
  const busyTimeout = Number(reader.pragma('busy_timeout', { simple: true }))
  t.ok(busyTimeout >= 100 && busyTimeout <= 250)
  t.throws(() => reader.exec("INSERT INTO JobExecutionLog (jobId, status) VALUES ('j', 'Queued')"), {
    code: 'SQLITE_READONLY'
  })
})

t.test('a transaction takes the write lock when it begins, before it writes', async t => {
  const { path, transact, database } = await openStore(t)
  const foreign = openForeign(t, path)
  foreign.pragma('busy_timeout = 0')
  const insert = () => foreign.exec("INSERT INTO JobExecutionLog (jobId, status) VALUES ('theirs', 'Running')")
  await transact(async tx => {
    await tx.selectFrom('JobExecutionLog').selectAll().execute()
    t.throws(insert, { code: 'SQLITE_BUSY' }, 'no other program writes between the read and the write')
    t.equal(database.reader.prepare('SELECT count(*) FROM JobExecutionLog').pluck().get(), 0, 'readers read on')
    await insertJob(tx, queuedJob('ours'))
  })
  insert()
  t.equal(database.reader.prepare('SELECT count(*) FROM JobExecutionLog').pluck().get(), 2)
})

t.test('reads a job by its primary key', async t => {
  const { database: { reader, writer } } = await openStore(t)
  const { sql } = recordQuery(writer).compile()
  const plan = reader.prepare<[string], { detail: string }>(`EXPLAIN QUERY PLAN ${sql}`).all('j').map(
    ({ detail }) => detail
  )
  const steps = plan.filter(step => step !== 'CORRELATED SCALAR SUBQUERY 1')
  t.ok(steps.length > 0)
  for (const step of steps) {
    t.match(step, /^SEARCH \w+ USING .*\(jobId=\?\)/, step)
    t.notMatch(step, /SCAN/)
  }
})

t.test('makes a database that does not exist, with its directory', async t => {
  const path = join(t.testdir(), 'a', 'b', 'jobs.db')
  const database = openDatabase(path)
  t.ok(existsSync(path))
  await database.close()
  t.notOk(database.reader.open)
})

t.test('names a path that cannot be a database', async t => {
  const directory = t.testdir({
    'text.db': 'This is no database, though it is long enough to be taken for the head of one.'.repeat(20)
  })
  t.throws(() => openDatabase(directory), { name: 'DatabaseUnusable', message: directory })
  t.throws(() => openDatabase(join(directory, 'text.db')), { name: 'DatabaseUnusable', message: 'not a database' })
  t.throws(() => openDatabase(join(directory, 'text.db', 'jobs.db')), { name: 'DatabaseUnusable' })
  t.throws(() => openDatabase('/proc/no-place/for/jobs.db'), { name: 'DatabaseUnusable' }, 'and does not try for ever')
})

t.test('every read of a failing database rejects with STORE_UNAVAILABLE', async t => {
  const { path, store, store: { results, queue, changes, transact } } = await openStore(t)
  const follower = await changes.follow()
  t.equal(await queue.hasAvailable({ types: ['report'], tenant: null }, 0), false)
  await t.resolves(store.jobs.ping())
  const failure = { name: 'ServiceFailure', code: 'STORE_UNAVAILABLE', facts: { retryAfterSeconds: 1 } }
  await sqlite3(path, [
    'JobExecutionLog', 'JobChange', 'JobQueue', 'JobResultChunk', 'ServiceState'
  ].map(table => `DROP TABLE ${table}`).join(';'))
  await t.rejects(store.jobs.find('j'), failure)
  await t.rejects(store.jobs.ping(), failure)
  await t.rejects(results.read({ jobId: 'j', sha256: 'x' }, 0, 1).next(), failure)
  await t.rejects(transact(tx => insertJob(tx, queuedJob('j'))), failure)
  await t.rejects(follower.next(1), failure)
  await t.rejects(queue.hasAvailable({ types: ['report'], tenant: null }, 0), failure)
  await t.rejects(queue.hasStuck({ holder: 'w' }), failure)
})
