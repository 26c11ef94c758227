import { statSync } from 'node:fs'
import { copyFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import t, { type Test } from 'tap'
import { openDatabase } from '../../../../src/store/sqlite/database.ts'
import { migrate } from '../../../../src/store/sqlite/migrations/migrate.ts'
import { sqlite3 } from '../../../helpers/databases.ts'
import { until } from '../../../helpers/until.ts'
import { spawnChild } from '../../child.ts'
import { openForeign, storeOn } from '../../open.ts'
import { makeFirstRelease, schemaOf } from './releases.ts'

const released = [
  '0001-job-execution-log', '0002-life-of-a-job', '0003-cache-epoch', '0004-seq', '0005-attempts', '0006-times',
  '0007-job-ids', '0008-change-readers', '0009-callbacks', '0010-callback-queues'
]

const openUnmigrated = (t: Test, path = join(t.testdir(), 'jobs.db')) => {
  const database = openDatabase(path)
  t.teardown(database.close)
  return database
}

t.test('gives a new database the schema once', async t => {
  const database = openUnmigrated(t)
  t.same(await migrate(database.writer), released)
  const schema = schemaOf(database.reader)
  const incarnation = storeOn(database).incarnation
  await sqlite3(database.path, "INSERT INTO JobExecutionLog (jobId, status) VALUES ('j', 'Running')")

  t.same(await migrate(database.writer), [], 'the second time nothing is left to do')
  t.same(schemaOf(database.reader), schema)
  t.equal(storeOn(database).incarnation, incarnation)
  t.match(await storeOn(database).jobs.find('j'), { kind: 'job', job: { version: 1 } })
})

t.test('each database has an incarnation of its own', async t => {
  const directory = t.testdir()
  const incarnations = await Promise.all(['a.db', 'b.db', 'c.db'].map(async name => {
    const database = openUnmigrated(t, join(directory, name))
    await migrate(database.writer)
    return storeOn(database).incarnation
  }))
  for (const incarnation of incarnations) t.match(incarnation, /^[0-9a-f]{16}$/)
  t.equal(new Set(incarnations).size, 3)
})

t.test('several processes that start at once all get the whole schema', async t => {
  const path = join(t.testdir(), 'jobs.db')
  const children = [1, 2, 3].map(() => spawnChild(t, 'sqlite/migrations/migrating.ts', path))
  t.same(await Promise.all(children.map(child => child.line())), ['ready', 'ready', 'ready'])
  for (const child of children) child.process.stdin?.end('begin\n')
  const answers = await Promise.all(children.map(child => child.line()))
  t.same(answers.toSorted(), [
    'applied 0 with 0 statements', 'applied 0 with 0 statements', `applied ${released.length} with 0 statements`
  ])
  t.equal(await sqlite3(path, "SELECT count(*) FROM ServiceState WHERE name = 'incarnation'"), '1')
})

t.test('a process killed during a migration leaves no part of it', async t => {
  const directory = t.testdir()
  for (const statement of [1, 5, 15, 30, 45, 60]) {
    const path = join(directory, `${statement}.db`)
    const child = spawnChild(t, 'sqlite/migrations/migrating.ts', path, String(statement))
    await child.line()
    child.process.stdin?.end('begin\n')
    t.same(await child.ended, { code: null, signal: 'SIGKILL' }, `before statement ${statement}`)

    const database = openUnmigrated(t, path)
    t.same(schemaOf(database.reader), [])
    t.equal(database.reader.pragma('integrity_check', { simple: true }), 'ok')
    t.same(await migrate(database.writer), released)
  }
})

t.test('a large database whose migration was killed has the schema of one release', async t => {
  const directory = t.testdir()
  const old = makeFirstRelease(t, 20_000, join(directory, 'old.db'))
  const oldSchema = schemaOf(openForeign(t, old))
  const count = 'SELECT count(*), sum(version) FROM JobExecutionLog'
  const rows = await sqlite3(old, count)
  const migrating = async (path: string) => {
    await copyFile(old, path)
    const child = spawnChild(t, 'sqlite/migrations/migrating.ts', path)
    await child.line()
    return child
  }
  const walBytes = (path: string) => statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0

  const whole = join(directory, 'whole.db')
  const child = await migrating(whole)
  const keeper = openForeign(t, whole)
  keeper.pragma('user_version')
  child.process.stdin?.end('begin\n')
  t.equal(await child.line(), `applied ${released.length - 1} with 0 statements`)
  const newSchema = schemaOf(keeper)
  const walBytesMax = walBytes(whole)

  const rounds = 6
  const ends: string[] = []
  // On a busy machine the kill can come too late each time.
  for (let round = 0; round < rounds || (!ends.includes('old') && round < 10 * rounds); round += 1) {
    const path = join(directory, `${round}.db`)
    const child = await migrating(path)
    const killAt = (round % rounds + Math.random()) / rounds * walBytesMax
    child.process.stdin?.end('begin\n')
    await until(() => walBytes(path) >= killAt || child.process.exitCode !== null, 'the migration')
    child.process.kill('SIGKILL')
    await child.ended

    const database = openUnmigrated(t, path)
    t.equal(database.reader.pragma('integrity_check', { simple: true }), 'ok')
    const schema = schemaOf(database.reader)
    const end = JSON.stringify(schema) === JSON.stringify(oldSchema) ? 'old' : 'new'
    ends.push(end)
    if (end === 'new') t.strictSame(schema, newSchema)
    t.same(await migrate(database.writer), end === 'old' ? released.slice(1) : [], `${end}, and goes on`)
    t.strictSame(schemaOf(database.reader), newSchema)
    t.equal(await sqlite3(path, count), rows)
  }
  t.ok(ends.includes('old'), 'at least once it was killed before it had ended')
})

t.test('a migration that fails throws, and leaves nothing', async t => {
  const database = openUnmigrated(t)
  // A table of the same name, made by someone else, in the way of the middle of the migration.
  await sqlite3(database.path, 'CREATE TABLE IdempotencyKey (id)')
  await t.rejects(migrate(database.writer), {
    name: 'DatabaseUnusable', message: 'table IdempotencyKey already exists'
  })
  t.match(schemaOf(database.reader), [{ name: 'IdempotencyKey', sql: 'CREATE TABLE IdempotencyKey (id)' }])
  await sqlite3(database.path, 'DROP TABLE IdempotencyKey')
  t.same(await migrate(database.writer), released)
})

t.test('starts with a row that breaks the rules, and enforces them again afterwards', async t => {
  const path = makeFirstRelease(t)
  await sqlite3(
    path, "PRAGMA ignore_check_constraints = ON; INSERT INTO JobExecutionLog (jobId, status) VALUES ('odd', 'Paused')"
  )
  const database = openUnmigrated(t, path)
  t.same(await migrate(database.writer), released.slice(1))
  t.match(await storeOn(database).jobs.find('odd'), { kind: 'invalid', jobId: 'odd' })
  const values = { jobId: 'j', status: 'Paused' }
  await t.rejects(database.writer.insertInto('JobExecutionLog').values(values).execute(), {
    code: 'SQLITE_CONSTRAINT_CHECK'
  })
})

t.test('a start waits for the transaction of another program', async t => {
  const database = openUnmigrated(t)
  const foreign = openForeign(t, database.path)
  foreign.exec('BEGIN IMMEDIATE')
  const migrating = migrate(database.writer)
  // Its first trial meets the lock before the loop turns.
  await turn()
  t.same(schemaOf(database.reader), [])
  foreign.exec('COMMIT')
  t.same(await migrating, released)
})
