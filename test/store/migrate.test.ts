import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { openDatabase } from '../../src/store/database.ts'
import { createJobStore } from '../../src/store/job-store.ts'
import { migrate } from '../../src/store/migrations/migrate.ts'
import { sqlite3 } from '../helpers/service.ts'
import { spawnChild } from './child.ts'
import { openForeign } from './open.ts'

const openUnmigrated = (t: Test, path = join(t.testdir(), 'jobs.db')) => {
  const database = openDatabase(path)
  t.teardown(database.close)
  return database
}

const ownObjects = "SELECT name, sql FROM sqlite_schema WHERE name LIKE 'Job%' OR name LIKE 'Idempotency%' OR name = 'ServiceState' ORDER BY name"

t.test('a new database gets the schema once', async t => {
  const database = openUnmigrated(t)
  t.same(await migrate(database.writer), ['0001-job-execution-log'])
  const schema = database.reader.prepare(ownObjects).all()
  const incarnation = createJobStore({ database }).incarnation()
  await sqlite3(database.path, "INSERT INTO JobExecutionLog (jobId, status) VALUES ('j', 'Running')")

  t.same(await migrate(database.writer), [], 'the second time nothing is left to do')
  t.same(database.reader.prepare(ownObjects).all(), schema)
  t.equal(createJobStore({ database }).incarnation(), incarnation)
  t.match(await createJobStore({ database }).find('j'), { kind: 'job', job: { version: 1 } })
})

t.test('each database has an incarnation of its own', async t => {
  const directory = t.testdir()
  const incarnations = await Promise.all(['a.db', 'b.db', 'c.db'].map(async name => {
    const database = openUnmigrated(t, join(directory, name))
    await migrate(database.writer)
    return createJobStore({ database }).incarnation()
  }))
  for (const incarnation of incarnations) t.match(incarnation, /^[0-9a-f]{16}$/)
  t.equal(new Set(incarnations).size, 3)
})

t.test('of several processes at once each ends with the whole schema', async t => {
  const path = join(t.testdir(), 'jobs.db')
  const children = [1, 2, 3].map(() => spawnChild(t, 'migrating.ts', path))
  t.same(await Promise.all(children.map(child => child.line())), ['ready', 'ready', 'ready'])
  for (const child of children) child.process.stdin?.end('begin\n')
  const answers = await Promise.all(children.map(child => child.line()))
  t.same(answers.toSorted(), ['applied 0 with 0 statements', 'applied 0 with 0 statements', 'applied 1 with 0 statements'])
  t.equal(await sqlite3(path, "SELECT count(*) FROM ServiceState WHERE name = 'incarnation'"), '1')
})

t.test('a process killed in the middle leaves nothing half made', async t => {
  const directory = t.testdir()
  for (const statement of [1, 2, 10, 20]) {
    const path = join(directory, `${statement}.db`)
    const child = spawnChild(t, 'migrating.ts', path, String(statement))
    await child.line()
    child.process.stdin?.end('begin\n')
    t.same(await child.ended, { code: null, signal: 'SIGKILL' }, `before statement ${statement}`)

    const database = openUnmigrated(t, path)
    t.same(database.reader.prepare(ownObjects).all(), [])
    t.equal(database.reader.pragma('integrity_check', { simple: true }), 'ok')
    t.same(await migrate(database.writer), ['0001-job-execution-log'])
  }
})

t.test('a migration that fails is thrown, and leaves nothing', async t => {
  const database = openUnmigrated(t)
  // A table of the same name, made by someone else, in the way of the middle of the migration.
  await sqlite3(database.path, 'CREATE TABLE IdempotencyKey (id)')
  await t.rejects(migrate(database.writer), { code: 'SQLITE_ERROR', message: 'already exists' })
  t.same(database.reader.prepare(ownObjects).all(), [{ name: 'IdempotencyKey', sql: 'CREATE TABLE IdempotencyKey (id)' }])
  await sqlite3(database.path, 'DROP TABLE IdempotencyKey')
  t.same(await migrate(database.writer), ['0001-job-execution-log'])
})

t.test('a start waits for the transaction of another program', async t => {
  const database = openUnmigrated(t)
  const foreign = openForeign(t, database.path)
  foreign.exec('BEGIN IMMEDIATE')
  const migrating = migrate(database.writer)
  // Its first trial meets the lock before the loop turns.
  await turn()
  t.same(database.reader.prepare(ownObjects).all(), [])
  foreign.exec('COMMIT')
  t.same(await migrating, ['0001-job-execution-log'])
})
