import { readFileSync } from 'node:fs'
import t, { type Test } from 'tap'
import { openDatabase } from '../../../../src/store/sqlite/database.ts'
import { insertJob } from '../../../../src/store/tx/jobs.ts'
import { pruneRecords } from '../../../../src/store/tx/retention.ts'
import { migrate } from '../../../../src/store/sqlite/migrations/migrate.ts'
import { sqlite3 } from '../../../helpers/databases.ts'
import { looseTable, makeForeignDatabase, openAdopted } from './adopted.ts'
import { inEachState, jobOf } from '../../jobs.ts'
import { openForeign, openStore } from '../../open.ts'

const at = Date.UTC(2026, 0, 31, 12)

// The audit is the engine's own: it must hear of what programs change, and of nothing else.
const tables: Record<string, string> = {
  'the public columns alone': `
    CREATE TABLE JobExecutionLog (jobId TEXT PRIMARY KEY, type TEXT, status TEXT, startTime TEXT, endTime TEXT, resultUrl TEXT, errorDetails TEXT)`,
  'loose types, another order and case': looseTable,
  'no types at all': 'CREATE TABLE JobExecutionLog (status, jobId PRIMARY KEY, startTime, endTime, resultUrl, errorDetails)',
  'every public column, with constraints': `
    CREATE TABLE "JobExecutionLog" (
      jobId VARCHAR(64) NOT NULL, status TEXT NOT NULL DEFAULT 'Queued' CHECK (status IN ('Queued', 'Running', 'Succeeded', 'Failed')),
      type TEXT, startTime TEXT, endTime TEXT, resultUrl TEXT, errorDetails TEXT, tenant TEXT, progressPercent INTEGER,
      createdAt TEXT DEFAULT CURRENT_TIMESTAMP, version INTEGER DEFAULT 1, attempt INTEGER, cancelledAt TEXT, expiresAt TEXT,
      CONSTRAINT pk PRIMARY KEY (jobId))`,
  'STRICT, with an index, a view, an audit and a later column of ours': `
    CREATE TABLE JobExecutionLog (jobId TEXT NOT NULL UNIQUE, status TEXT NOT NULL, startTime TEXT, endTime TEXT, resultUrl TEXT,
      errorDetails TEXT, updated INTEGER NOT NULL DEFAULT 0, hasPartialResult INTEGER) STRICT;
    CREATE INDEX byStatus ON JobExecutionLog (status);
    CREATE VIEW Running AS SELECT * FROM JobExecutionLog WHERE status = 'Running';
    CREATE TABLE Audit (jobId TEXT);
    CREATE TRIGGER audit AFTER UPDATE ON jobexecutionlog WHEN NEW.status IS NOT OLD.status
      BEGIN INSERT INTO Audit VALUES (NEW.jobId); END;
    CREATE TRIGGER touch AFTER UPDATE ON JobExecutionLog WHEN NEW.updated = OLD.updated
      BEGIN UPDATE JobExecutionLog SET updated = updated + 1 WHERE jobId = NEW.jobId; END`
}

const rows = `
  INSERT INTO JobExecutionLog (jobId, status, startTime, endTime, resultUrl, errorDetails) VALUES
    ('q', 'Queued', NULL, NULL, NULL, NULL),
    ('r', 'Running', '2026-01-31 12:00:00', NULL, NULL, NULL),
    ('s', 'Succeeded', '20260131T120000Z', '2026-01-31T13:00:00+01:00', 'https://x.example/r', NULL),
    ('f', 'Failed', 'soon', '2026-01-31T12:00Z', NULL, '{"code":"E","message":"m"}');
  WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
    INSERT INTO JobExecutionLog (jobId, status) SELECT 'many-' || i, 'Running' FROM n`

const expectLaws = async (t: Test, path: string) => {
  const insert = (values: string, columns = '') => sqlite3(
    path, `INSERT INTO JobExecutionLog (jobId, status${columns}) VALUES (${values})`
  )
  await t.rejects(insert("'x', 'Paused'"))
  await t.rejects(insert("'x', NULL"))
  await t.rejects(insert("'a b', 'Queued'"))
  await t.rejects(insert("'a' || char(0), 'Queued'"))
  await t.rejects(insert("x'61', 'Queued'"))
  await t.rejects(insert("'x', 'Queued', 101", ', progressPercent'))
  await t.rejects(insert("'x', 'Queued', 'half'", ', progressPercent'))
  await t.rejects(insert("'x', 'Queued', -1", ', attempt'))
  await t.rejects(insert("'x', 'Queued', '2026-01-31'", ', cancelledAt'))
  await t.rejects(insert("'x', 'Queued', 2", ', hasPartialResult'))
  await insert("'x', 'Failed', '2026-01-31', '2026-01-31'", ', cancelledAt, endTime')
  await insert("'z', 'Failed'")
  await t.rejects(sqlite3(path, "UPDATE JobExecutionLog SET status = 'Queued' WHERE jobId = 'z'"), /BR-001/)
  await t.rejects(sqlite3(path, "UPDATE JobExecutionLog SET jobId = 'y' WHERE jobId = 'x'"))
  await sqlite3(path, "INSERT INTO JobExecutionLog (jobId, status) VALUES ('y', 'Running')")
  await t.rejects(sqlite3(path, "UPDATE JobExecutionLog SET cancelledAt = '2026-01-31' WHERE jobId = 'y'"))
}

for (const [kind, table] of Object.entries(tables)) {
  t.test(`a table with ${kind} is adopted with its rows`, async t => {
    const path = makeForeignDatabase(t, `${table}; ${rows}`)
    const columns = await sqlite3(
      path,
      "SELECT group_concat(name) FROM pragma_table_info('JobExecutionLog') WHERE name NOT IN ('version', 'createdAt')"
    )
    const kept = `SELECT ${columns} FROM JobExecutionLog ORDER BY rowid`
    const before = await sqlite3(path, kept)
    const { store, changeLog } = await openStore(t, path)

    t.equal(await sqlite3(path, kept), before, 'no value is lost')
    const found = await Promise.all(
      ['q', 'r', 's', 'f', 'many-1', 'many-3000'].map(async id => jobOf(await store.jobs.find(id)))
    )
    t.match(found, [
      { jobId: 'q', state: 'queued', startedAt: null, tenant: null, submittedBy: null, attempt: 0 },
      { state: 'running', startedAt: at, createdAt: kind.startsWith('every') ? Number : at, progress: { percent: 0 } },
      { state: 'succeeded', startedAt: at, finishedAt: at, resultUrl: 'https://x.example/r', result: null },
      { state: 'failed', startedAt: null, finishedAt: at, failure: { code: 'E', message: 'm' } },
      { state: 'running' },
      { state: 'running' }
    ])
    t.ok((found[0]?.createdAt ?? 0) > at, 'a creation that was not recorded')
    const versions = (await sqlite3(path, 'SELECT version FROM JobExecutionLog ORDER BY rowid')).split('\n').map(Number)
    t.same(versions, versions.map((_, index) => index + 1), 'each row has a version of its own')
    t.equal(changeLog.head(), versions.length)
    t.equal(
      await sqlite3(path, 'SELECT count(*) FROM JobExecutionLog JOIN JobChange USING (jobId, version)'),
      String(versions.length)
    )

    await sqlite3(path, "UPDATE JobExecutionLog SET status = 'Succeeded' WHERE jobId = 'many-1'")
    t.match(await store.jobs.find('many-1'), { job: { state: 'succeeded', version: versions.length + 1 } })
    await expectLaws(t, path)
  })

  t.test(`an empty table with ${kind} is adopted, and takes jobs of ours`, async t => {
    const { path, store, transact, database, changeLog } = await openStore(t, makeForeignDatabase(t, table))
    for (const [number, make] of inEachState.entries()) {
      const job = make(`job-${number}`)
      await transact(tx => insertJob(tx, job))
      t.same(jobOf(await store.jobs.find(job.jobId)), { ...job, version: number + 1 }, job.state)
    }
    t.equal(changeLog.head(), inEachState.length, 'one version each')
    t.same(await migrate(database.writer), [], 'nothing is left to do')
    await expectLaws(t, path)
  })
}

t.test('keeps the triggers and columns of the other program, and fires none of its triggers', async t => {
  const path = makeForeignDatabase(
    t, `${tables['STRICT, with an index, a view, an audit and a later column of ours']}; ${rows}`
  )
  await openStore(t, path)
  t.equal(await sqlite3(path, 'SELECT * FROM Audit'), '')
  t.equal(await sqlite3(path, 'SELECT sum(updated) FROM JobExecutionLog'), '0')
  await sqlite3(path, "UPDATE JobExecutionLog SET status = 'Failed' WHERE jobId = 'r'")
  t.equal(await sqlite3(path, 'SELECT * FROM Audit'), 'r')
  t.equal(await sqlite3(path, "SELECT updated > 0 FROM JobExecutionLog WHERE jobId = 'r'"), '1')
  t.equal(await sqlite3(path, 'SELECT count(*) FROM Running'), '3000')
})

t.test('reads values of any type as what they are', async t => {
  const { path, store } = await openStore(t, makeForeignDatabase(t, `
    CREATE TABLE JobExecutionLog (JOBID TEXT PRIMARY KEY, STATUS TEXT, TYPE NUMERIC, STARTTIME DATETIME, ENDTIME DATETIME, RESULTURL, ERRORDETAILS JSON, ATTEMPT REAL, ETASECONDS);
    INSERT INTO JobExecutionLog VALUES
      ('seconds', 'Succeeded', 7, ${at / 1000}, ${at / 1000}.5, 17, NULL, 2, NULL),
      ('ms', 'Running', x'00ff', ${at}, NULL, x'00', NULL, NULL, -1.5),
      ('digits', 'Failed', 'a', '20260131', 0, NULL, '17', 1, 9e999),
      ('bytes', 'Failed', 'a', x'32303236', -1e300, NULL, x'7b7d', 0, 'soon')`))
  t.match(await store.jobs.find('seconds'), {
    job: { type: '7', createdAt: at, startedAt: at, finishedAt: at + 500, resultUrl: '17', attempt: 2 }
  })
  t.match(await store.jobs.find('ms'), {
    job: { type: null, createdAt: at, startedAt: at, attempt: 0, progress: { etaSeconds: null } }
  })
  t.match(await store.jobs.find('digits'), {
    job: { startedAt: Date.UTC(2026, 0, 31), finishedAt: null, failure: { code: 'UNSPECIFIED', message: '17' } }
  })
  t.match(await store.jobs.find('bytes'), {
    job: { startedAt: null, finishedAt: null, failure: { code: 'UNSPECIFIED' } }
  })
  t.equal(await sqlite3(path, "SELECT createdMs FROM JobExecutionLog WHERE jobId IN ('seconds', 'ms')"), `${at}\n${at}`)
})

t.test('accepts the own statements of the other program', async t => {
  const path = makeForeignDatabase(t, looseTable)
  const engine = openForeign(t, path)
  const insert = engine.prepare("INSERT INTO jobexecutionlog (jobid, STATUS, payload) VALUES (?, 'Running', x'01')")
  const update = engine.prepare("UPDATE jobexecutionlog SET STATUS = 'Succeeded', EndTime = 1769860800 WHERE id = ?")
  const all = engine.prepare<[], Record<string, unknown>>('SELECT * FROM jobexecutionlog ORDER BY id')
  const first = insert.run('a').lastInsertRowid
  const { store } = await openStore(t, path)
  t.equal(insert.run('b').lastInsertRowid, Number(first) + 1)
  update.run(first)
  t.match(all.all(), [
    { jobid: 'a', STATUS: 'Succeeded', priority: 5, payload: Buffer.from([1]) }, { jobid: 'b', STATUS: 'Running' }
  ])
  t.match(await store.jobs.find('a'), { job: { jobId: 'a', state: 'succeeded', finishedAt: at, version: 3 } })
})

t.test('a change of case draws a version, also in a case-insensitive column', async t => {
  const { path, store } = await openStore(t, makeForeignDatabase(t, `
    CREATE TABLE JobExecutionLog (jobId TEXT PRIMARY KEY, status TEXT COLLATE NOCASE, type TEXT COLLATE NOCASE);
    INSERT INTO JobExecutionLog VALUES ('a', 'Running', 'x')`))
  await sqlite3(path, "UPDATE JobExecutionLog SET type = 'X'")
  t.match(await store.jobs.find('a'), { job: { type: 'X', version: 2 } })
  await t.rejects(sqlite3(path, "UPDATE JobExecutionLog SET status = 'running'"))
})

t.test('switches only a file that becomes ours to write-ahead logging', async t => {
  const path = makeForeignDatabase(t, 'CREATE TABLE JobExecutionLog (status TEXT)')
  const before = readFileSync(path)
  const { writer, close } = openDatabase(path)
  await t.rejects(migrate(writer), { name: 'DatabaseUnusable' })
  await close()
  t.strictSame(readFileSync(path), before)
  t.equal(await sqlite3(makeForeignDatabase(t, looseTable, `${path}2`), 'PRAGMA journal_mode'), 'delete')
  await openStore(t, `${path}2`)
  t.equal(await sqlite3(`${path}2`, 'PRAGMA journal_mode'), 'wal')
})

t.test('prunes a record by its end, also where that is a number', async t => {
  const { path, transact } = await openAdopted(t)
  const foreign = openForeign(t, path)
  foreign.exec(`INSERT INTO JobExecutionLog (jobId, status, endTime) VALUES
    ('seconds', 'Failed', 1577836800), ('milliseconds', 'Failed', 1577836800000), ('text', 'Failed', '2020-01-01T00:00:00Z'),
    ('later', 'Failed', 1767225600), ('bytes', 'Failed', x'00')`)
  const { removed, next } = await transact(tx => pruneRecords(tx, 'foreign', Date.UTC(2026, 0, 1), 10, null))
  t.equal(removed, 3)
  t.equal(next, null)
  t.same(foreign.prepare('SELECT jobId FROM JobExecutionLog ORDER BY jobId').pluck().all(), ['bytes', 'later'])
})

t.test('adopts a table beside a broken trigger, and keeps triggers and views of other tables', async t => {
  const path = makeForeignDatabase(t, `${looseTable};
    CREATE TABLE Other (a);
    CREATE VIEW Jobs AS SELECT jobid FROM jobexecutionlog;
    CREATE TRIGGER Jobs_insert INSTEAD OF INSERT ON Jobs BEGIN SELECT 1; END;
    CREATE TRIGGER Other_insert AFTER INSERT ON Other BEGIN SELECT missing(1) FROM Missing; END`)
  const objects =
    "SELECT name, sql FROM sqlite_schema WHERE name IN ('Jobs', 'Jobs_insert', 'Other_insert') ORDER BY name"
  const before = await sqlite3(path, objects)
  await openStore(t, path)
  t.equal(await sqlite3(path, objects), before)
})
