import { execFile } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { DatabaseUnusable } from '../../../../src/store/errors.ts'
import { openDatabase } from '../../../../src/store/sqlite/database.ts'
import { migrate } from '../../../../src/store/sqlite/migrations/migrate.ts'
import { sqlite3 } from '../../../helpers/databases.ts'
import { makeForeignDatabase } from './adopted.ts'
import { openStore } from '../../open.ts'

const root = resolve(import.meta.dirname, '../../../..')

const table = (columns: string) => `CREATE TABLE JobExecutionLog (${columns})`
const sound = table('jobId TEXT PRIMARY KEY, status TEXT')
const insert = (values: string) => `INSERT INTO JobExecutionLog (jobId, status) VALUES ${values}`

// What another program may have made, and what the refusal says of it.
const refused: Array<{ name: string, sql: string, says: RegExp }> = [
  {
    name: 'a view',
    sql: "CREATE VIEW JobExecutionLog AS SELECT 'a' AS jobId, 'Running' AS status",
    says: /its JobExecutionLog cannot be adopted: it is a view$/
  },
  {
    name: 'a virtual table',
    sql: 'CREATE VIRTUAL TABLE JobExecutionLog USING fts5(jobId, status)',
    says: /it is a virtual$/
  },
  { name: 'no jobId', sql: table('id TEXT PRIMARY KEY, status TEXT'), says: /column jobId is missing$/ },
  { name: 'neither jobId nor status', sql: table('id'), says: /column jobId is missing; column status is missing$/ },
  { name: 'no status', sql: table('jobId TEXT PRIMARY KEY'), says: /column status is missing$/ },
  {
    name: 'a jobId that is not unique',
    sql: table(
      'jobId TEXT, status TEXT'
    ),
    says: /jobId is neither PRIMARY KEY nor UNIQUE$/
  },
  {
    name: 'a jobId that is unique together with another',
    sql: table(
      'jobId TEXT, status TEXT, type TEXT, PRIMARY KEY (jobId, type)'
    ),
    says: /jobId is neither PRIMARY KEY nor UNIQUE$/
  },
  {
    name: 'a jobId that is unique for some rows',
    sql: `${table('jobId TEXT, status TEXT')}; CREATE UNIQUE INDEX some ON JobExecutionLog (jobId) WHERE status = 'Running'`,
    says: /jobId is neither PRIMARY KEY nor UNIQUE$/
  },
  {
    name: 'an INTEGER PRIMARY KEY',
    sql: table(
      'jobId INTEGER PRIMARY KEY, status TEXT'
    ),
    says: /column jobId is declared INTEGER/
  },
  {
    name: 'a number for jobId',
    sql: table(
      'jobId BIGINT UNIQUE, status TEXT'
    ),
    says: /column jobId is declared BIGINT/
  },
  {
    name: 'another unique column',
    sql: table(
      'jobId TEXT PRIMARY KEY, status TEXT, ref TEXT UNIQUE'
    ),
    says: /ref is UNIQUE too/
  },
  { name: 'a WITHOUT ROWID table', sql: `${sound} WITHOUT ROWID`, says: /it is a WITHOUT ROWID table$/ },
  {
    name: 'a column called rowid',
    sql: table(
      'jobId TEXT PRIMARY KEY, status TEXT, rowid TEXT'
    ),
    says: /column rowid has a name that the service keeps/
  },
  {
    name: 'a column called seq',
    sql: table(
      'jobId TEXT PRIMARY KEY, status TEXT, Seq INTEGER'
    ),
    says: /column seq has a name that the service keeps/
  },
  {
    name: 'a column called submittedBy',
    sql: table(
      'jobId TEXT PRIMARY KEY, status TEXT, submittedby TEXT'
    ),
    says: /column submittedBy has a name that the service keeps/
  },
  {
    name: 'a column that our rows do not fill',
    sql: table(
      'jobId TEXT PRIMARY KEY, status TEXT, owner TEXT NOT NULL'
    ),
    says: /NOT NULL constraint failed: JobExecutionLog\.owner$/
  },
  {
    name: 'a column that our rows leave null',
    sql: table(
      'jobId TEXT PRIMARY KEY, status TEXT, endTime TEXT NOT NULL'
    ),
    says: /NOT NULL constraint failed: JobExecutionLog\.endTime$/
  },
  {
    name: 'a column that is made of others',
    sql: table(
      "jobId TEXT PRIMARY KEY, status TEXT, type TEXT AS ('x')"
    ),
    says: /generated column "type"/
  },
  {
    name: 'a CHECK of more than one line that our rows fail',
    sql: table(
      "jobId TEXT PRIMARY KEY, status TEXT, type TEXT CHECK (type IN ('a',\n'b'))"
    ),
    says: /CHECK constraint failed: type IN \('a', 'b'\)$/
  },
  {
    name: 'a trigger that rejects our rows',
    sql: `${sound}; CREATE TRIGGER no BEFORE INSERT ON JobExecutionLog BEGIN SELECT RAISE(ABORT, 'read only'); END`,
    says: /read only$/
  },
  {
    name: 'a type that rejects our times',
    sql: `${table('jobId TEXT PRIMARY KEY, status TEXT, endTime INTEGER')} STRICT`,
    says: /cannot store TEXT value in INTEGER column JobExecutionLog\.endTime$/
  },
  {
    name: 'a type that makes numbers of tenants',
    sql: table(
      'jobId TEXT PRIMARY KEY, status TEXT, tenant INTEGER'
    ),
    says: /column tenant does not keep "007" as it is$|tenant: a text, or null$/
  },
  {
    name: 'a type that makes texts of percents',
    sql: table(
      'jobId TEXT PRIMARY KEY, status TEXT, progressPercent TEXT'
    ),
    says: /progressPercent: a number/
  },
  {
    name: 'a type that makes texts of versions',
    sql: table(
      'jobId TEXT PRIMARY KEY, status TEXT, version TEXT'
    ),
    says: /version/
  },
  {
    name: 'jobIds that take no notice of case',
    sql: table(
      'jobId TEXT COLLATE NOCASE PRIMARY KEY, status TEXT'
    ),
    says: /column jobId takes different texts for the same$/
  },
  {
    name: 'tenants that take no notice of case',
    sql: table(
      'jobId TEXT PRIMARY KEY, status TEXT, tenant TEXT COLLATE NOCASE'
    ),
    says: /column tenant takes different texts for the same$/
  },
  {
    name: 'tenants that take no notice of spaces',
    sql: table(
      'jobId TEXT PRIMARY KEY, status TEXT, tenant TEXT COLLATE RTRIM'
    ),
    says: /column tenant takes different texts for the same$/
  },
  {
    name: 'a status that is none',
    sql: `${sound}; ${insert("('a', 'Running'), ('b', 'Cancelled'), ('c', NULL)")}`,
    says: /2 rows break the rule of status \(one of Queued, Running, Succeeded, Failed\): see jobId "c"$/
  },
  {
    name: 'a jobId that is none',
    sql: `${sound}; ${insert("('a b\nc', 'Running')")}`,
    says: /1 row breaks the rule of jobId \(.*\): see jobId "a b\\nc"$/
  },
  {
    name: 'a cancelledAt where nothing failed',
    sql: `${table('jobId TEXT PRIMARY KEY, status TEXT, cancelledAt TEXT')}; INSERT INTO JobExecutionLog VALUES ('a', 'Running', '2026')`,
    says: /1 row breaks the rule of cancelledAt/
  },
  { name: 'a table of ours', sql: `${sound}; CREATE TABLE jobqueue (id)`, says: /table JobQueue already exists$/ },
  {
    name: 'a later table of ours',
    sql: 'CREATE TABLE SanitizationEvent (id)',
    says: /table SanitizationEvent already exists$/
  },
  {
    name: 'an index of ours',
    sql: `${sound}; CREATE INDEX JobExecutionLog_created ON JobExecutionLog (status)`,
    says: /index JobExecutionLog_created already exists$/
  },
  {
    name: 'migrations of another program',
    sql: "CREATE TABLE kysely_migration (name, timestamp); INSERT INTO kysely_migration VALUES ('init', '')",
    says: /kysely_migration belongs to another program: migration init/
  },
  {
    name: 'migrations of another kind',
    sql: 'CREATE TABLE kysely_migration (id)',
    says: /kysely_migration is not one of this service$/
  }
]

for (const { name, sql, says } of refused) {
  t.test(`${name} is rejected in one line, and stays as it was`, async t => {
    const path = makeForeignDatabase(t, sql)
    const before = readFileSync(path)
    const { writer, close } = openDatabase(path)
    const error = await migrate(writer).then(() => undefined, (error: unknown) => error)
    await close()
    t.ok(error instanceof DatabaseUnusable)
    t.match(error, { message: says })
    t.ok(error instanceof Error && error.message.startsWith(
      `DATABASE_URL: cannot use ${path}: `
    ) && !error.message.includes('\n'))
    t.strictSame(readFileSync(path), before)
    t.notOk(existsSync(`${path}-wal`) || existsSync(`${path}-journal`))
  })
}

const fromTheFuture = "INSERT INTO kysely_migration VALUES ('0099-from-the-future', '2030-01-01T00:00:00.000Z')"

t.test('rejects a database of a newer release before it writes anything', async t => {
  const { path, database } = await openStore(t)
  await sqlite3(path, fromTheFuture)
  await sqlite3(path, 'PRAGMA wal_checkpoint(TRUNCATE)')
  const before = readFileSync(path)
  await t.rejects(migrate(database.writer), {
    name: 'DatabaseUnusable',
    message: /made by a newer version of this service: migration 0099-from-the-future is not known/
  })
  t.equal(readFileSync(`${path}-wal`).length, 0)
  t.strictSame(readFileSync(path), before)
})

t.test('rejects an older database that a newer release has migrated in part', async t => {
  const path = makeForeignDatabase(t, readFileSync(join(import.meta.dirname, 'fixtures/release-0001.sql'), 'utf8'))
  await sqlite3(path, fromTheFuture)
  const { writer, close } = openDatabase(path)
  t.teardown(close)
  await t.rejects(migrate(writer), { message: /0099-from-the-future/ })
  t.equal(await sqlite3(path, 'SELECT name FROM kysely_migration'), '0001-job-execution-log\n0099-from-the-future')
})

const run = (program: string, path: string) => promisify(execFile)(process.execPath, [join(root, program)], {
  env: { ...process.env, DATABASE_URL: `sqlite:${path}`, JWT_SECRET: 'x'.repeat(32), PORT: '0' }
}).then(() => ({ code: 0, stdout: '', stderr: '' }), (error: { code: number, stdout: string, stderr: string }) => error)

t.test('the programs end with that one line', async t => {
  const path = makeForeignDatabase(t, table('jobId TEXT PRIMARY KEY'))
  const newer = (await openStore(t, `${path}2`)).path
  await sqlite3(newer, fromTheFuture)
  for (const program of ['scripts/migrate.ts', 'src/main.ts']) {
    for (const [file, says] of [[path, 'column status is missing'], [newer, '0099-from-the-future']] as const) {
      const { code, stdout, stderr } = await run(program, file)
      t.equal(code, 1)
      t.equal(stdout, '')
      t.ok(stderr.startsWith(`DATABASE_URL: cannot use ${file}: `) && stderr.includes(says), stderr)
      t.equal(stderr.trimEnd().split('\n').length, 1)
    }
  }
})
