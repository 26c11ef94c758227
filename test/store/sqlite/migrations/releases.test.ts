import type { Kysely } from 'kysely'
import t from 'tap'
import { openDatabase } from '../../../../src/store/sqlite/database.ts'
import { createJobReader } from '../../../../src/store/sqlite/readers/job-reader.ts'
import { up as firstMigration } from '../../../../src/store/sqlite/migrations/0001-job-execution-log.ts'
import { migrate } from '../../../../src/store/sqlite/migrations/migrate.ts'
import { spawnChild } from '../../child.ts'
import { openForeign, openStore } from '../../open.ts'
import { firstReleaseTables, makeFirstRelease, schemaOf } from './releases.ts'

t.test('the first migration still makes the schema of the first release', async t => {
  const released = schemaOf(openForeign(t, makeFirstRelease(t)))
  const { writer, reader, close } = openDatabase(`${t.testdirName}/new.db`)
  t.teardown(close)
  await writer.transaction().execute(tx => firstMigration(tx as unknown as Kysely<unknown>))
  t.strictSame(schemaOf(reader), released.filter(object => !JSON.stringify(object).includes('kysely_migration')))
})

t.test('a migrated database has the schema of a new one', async t => {
  const { database: { reader } } = await openStore(t)
  const { database: migrated } = await openStore(t, makeFirstRelease(t, 10, `${t.testdirName}/old.db`))
  t.strictSame(schemaOf(migrated.reader), schemaOf(reader))
})

t.test('migrates a database of the first release while its programs read and write, and loses nothing', async t => {
  const path = makeFirstRelease(t, 4000)
  const foreign = openForeign(t, path)
  const content = (table: string, columns: string) =>
    foreign.prepare(`SELECT ${columns} FROM ${table} WHERE jobId NOT LIKE 'old-%' ORDER BY 1, 2`).all()
  const contents = () => Object.entries(firstReleaseTables).map(([table, columns]) => content(table, columns))
  const before = contents()
  const incarnation = foreign.prepare('SELECT value FROM ServiceState').pluck().all()

  const [writer, reader, migrator] = [
    spawnChild(t, 'sqlite/migrations/releases-writer.ts', path), spawnChild(t, 'sqlite/migrations/releases-reader.ts', path),
    spawnChild(t, 'sqlite/migrations/migrating.ts', path)
  ]
  t.ok(await writer.line() !== undefined && await reader.line() !== undefined &&
    await migrator.line() === 'ready', 'all are at work')
  migrator.process.stdin?.end('begin\n')
  t.match(await migrator.line(), /^applied [1-9]\d* with 0 statements$/)
  // Lines that came before, and then some that were written after.
  const head = foreign.prepare('SELECT max(version) FROM JobChange').pluck()
  const reached = head.get() as number
  while (head.get() as number < reached + 100) t.ok(await writer.line() !== undefined, 'the writer goes on')
  for (let round = 0; round < 20; round += 1) t.ok(await reader.line() !== undefined, 'the reader goes on')
  writer.process.stdin?.end()
  reader.process.stdin?.end()
  let last = ''
  for (let line = await writer.line(); line !== undefined; line = await writer.line()) last = line
  while (await reader.line() !== undefined);
  t.same([await writer.ended, await reader.ended], [{
    code: 0, signal: null
  }, { code: 0, signal: null }], 'no statement failed')

  const after = contents()
  for (const [index, table] of Object.keys(firstReleaseTables).entries()) {
    t.strictSame(after[index], before[index], table)
  }
  t.same(foreign.prepare('SELECT value FROM ServiceState').pluck().all(), incarnation)
  t.equal(foreign.pragma('integrity_check', { simple: true }), 'ok')
  const bySeq = foreign.prepare('SELECT jobId FROM JobExecutionLog ORDER BY seq').pluck().all()
  t.same(bySeq, foreign.prepare('SELECT jobId FROM JobExecutionLog ORDER BY rowid').pluck()
    .all(), 'in the order of insertion')
  t.equal(foreign.prepare('SELECT count(DISTINCT seq) FROM JobExecutionLog').pluck().get(), bySeq.length)

  const jobs = JSON.parse(last) as Array<[string, number[]]>
  const versions = jobs.flatMap(([, versions]) => [...new Set(versions)])
  t.same(versions, versions.toSorted((a, b) => a - b), 'versions rise, and none is drawn twice')
  t.equal(new Set(versions).size, versions.length)
  t.equal(versions.length, jobs.length * 4)
  const database = openDatabase(path)
  t.teardown(database.close)
  const { find } = createJobReader({ database })
  for (const [jobId, seen] of jobs) {
    t.match(await find(jobId), { job: { state: 'succeeded', version: seen.at(-1), result: { sizeBytes: 20 } } }, jobId)
  }
  t.same(await migrate(database.writer), [])
})

t.test('gives a queue item of the previous release its tenant and its seq', async t => {
  const { path } = await openStore(t, makeFirstRelease(t, 100))
  const foreign = openForeign(t, path)
  const strangers = foreign.prepare(
    'SELECT count(*) FROM JobQueue JOIN JobExecutionLog AS log USING (jobId) WHERE JobQueue.tenant IS NOT log.tenant'
  ).pluck()
  t.equal(strangers.get(), 0)
  foreign.exec(`
    INSERT INTO JobExecutionLog (jobId, status, tenant) VALUES ('a', 'Queued', 'acme'), ('b', 'Queued', NULL);
    INSERT INTO JobQueue (jobId, type, maxAttempts, availableAt) VALUES ('a', 'x', 1, 0), ('b', 'x', 1, 0);
    INSERT INTO JobQueue (jobId, type, maxAttempts, availableAt, tenant) VALUES ('c', 'x', 1, 0, 'other')`)
  t.equal(strangers.get(), 0)
  t.equal(foreign.prepare("SELECT tenant FROM JobQueue WHERE jobId = 'c'").pluck().get(), 'other')
  const others = foreign.prepare(
    'SELECT count(*) FROM JobQueue JOIN JobExecutionLog AS log USING (jobId) WHERE JobQueue.seq IS NOT log.seq'
  ).pluck()
  t.equal(others.get(), 0, 'and by the seq of its record')
})
