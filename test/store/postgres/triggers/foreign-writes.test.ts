import t from 'tap'
import { type ForeignDatabase, startMigrated } from '../migrated.ts'

const { open } = await startMigrated(t)

// What runs, and how each of these jobs then stands: its status, or `tombstone`. The setup is run by itself first.
type Case = { name: string, setup?: string, sql: string, then: Record<string, string> }

const insert = (jobId: string, status: string) => `INSERT INTO JobExecutionLog (jobId, status) VALUES ('${jobId}', '${status}')`
const aRunning = insert('a', 'Running')
const b = insert('b', 'Queued')
const merge = (values: string) => `MERGE INTO JobExecutionLog AS log USING (VALUES ${values}) AS s (id, status)
  ON log.jobId = s.id WHEN MATCHED THEN UPDATE SET status = s.status
  WHEN NOT MATCHED THEN INSERT (jobId, status) VALUES (s.id, s.status)`
const copy = (...rows: string[]) =>
  `COPY JobExecutionLog (jobId, status) FROM PROGRAM 'printf "${rows.map(row => `${row}\\n`).join('')}"' WITH (FORMAT csv)`

const changing: Case[] = [
  { name: 'INSERT', sql: aRunning, then: { a: 'Running' } },
  {
    name: 'INSERT under names of another case',
    sql: "insert into jobexecutionlog (JOBID, STATUS) values ('a', 'Failed')",
    then: { a: 'Failed' }
  },
  {
    name: 'INSERT of many rows',
    sql: "INSERT INTO JobExecutionLog (jobId, status) VALUES ('a', 'Queued'), ('b', 'Failed'), ('c', 'Running')",
    then: { a: 'Queued', b: 'Failed', c: 'Running' }
  },
  { name: 'COPY', sql: copy('a,Running', 'b,Queued'), then: { a: 'Running', b: 'Queued' } },
  {
    name: 'UPDATE', setup: aRunning, sql: "UPDATE JobExecutionLog SET status = 'Succeeded' WHERE jobId = 'a'", then: { a: 'Succeeded' }
  },
  {
    name: 'UPDATE of many rows',
    setup: `${aRunning}; ${b}`,
    sql: "UPDATE JobExecutionLog SET status = 'Failed'",
    then: { a: 'Failed', b: 'Failed' }
  },
  {
    name: 'UPDATE FROM another table',
    setup: `${aRunning}; ${b}`,
    sql: "UPDATE JobExecutionLog AS log SET status = s.status FROM (VALUES ('a', 'Failed')) AS s (id, status) WHERE log.jobId = s.id",
    then: { a: 'Failed' }
  },
  {
    name: 'ON CONFLICT DO UPDATE',
    setup: aRunning,
    sql: `${insert('a', 'Failed')} ON CONFLICT (jobId) DO UPDATE SET status = excluded.status`,
    then: { a: 'Failed' }
  },
  {
    name: 'ON CONFLICT DO UPDATE of a new row',
    sql: `${insert('a', 'Failed')} ON CONFLICT (jobId) DO UPDATE SET status = excluded.status`,
    then: { a: 'Failed' }
  },
  { name: 'ON CONFLICT DO NOTHING of a new row', sql: `${aRunning} ON CONFLICT DO NOTHING`, then: { a: 'Running' } },
  { name: 'DELETE', setup: aRunning, sql: "DELETE FROM JobExecutionLog WHERE jobId = 'a'", then: { a: 'tombstone' } },
  {
    name: 'DELETE of all rows',
    setup: `${aRunning}; ${b}`,
    sql: 'DELETE FROM JobExecutionLog',
    then: { a: 'tombstone', b: 'tombstone' }
  },
  {
    name: 'DELETE then INSERT', setup: aRunning, sql: `DELETE FROM JobExecutionLog; ${insert('a', 'Queued')}`, then: { a: 'Queued' }
  },
  {
    name: 'DELETE and INSERT in one statement',
    setup: aRunning,
    sql: `WITH gone AS (DELETE FROM JobExecutionLog RETURNING jobId)
      INSERT INTO JobExecutionLog (jobId, status) SELECT jobId, 'Queued' FROM gone`,
    then: { a: 'Queued' }
  },
  {
    name: 'DELETE then INSERT of the same terminal status',
    setup: insert('a', 'Failed'),
    sql: `DELETE FROM JobExecutionLog; ${insert('a', 'Failed')}`,
    then: { a: 'Failed' }
  },
  {
    name: 'changes in one transaction with a savepoint',
    setup: aRunning,
    sql: `BEGIN; UPDATE JobExecutionLog SET status = 'Queued'; SAVEPOINT s; UPDATE JobExecutionLog SET status = 'Failed';
      ROLLBACK TO s; UPDATE JobExecutionLog SET type = 'x'; ${b}; COMMIT`,
    then: { a: 'Queued', b: 'Queued' }
  }
]

const unchanging: Case[] = [
  {
    name: 'an UPDATE to the same',
    sql: "UPDATE JobExecutionLog SET status = status, type = NULL WHERE jobId = 'a'",
    then: { a: 'Running' }
  },
  { name: 'ON CONFLICT DO NOTHING', sql: `${insert('a', 'Failed')} ON CONFLICT DO NOTHING`, then: { a: 'Running' } },
  {
    name: 'ON CONFLICT DO UPDATE WHERE, which is not so',
    sql: `${insert('a', 'Failed')} ON CONFLICT (jobId) DO UPDATE SET status = 'Failed' WHERE JobExecutionLog.type = 'x'`,
    then: { a: 'Running' }
  },
  { name: 'a transaction rolled back', sql: 'BEGIN; DELETE FROM JobExecutionLog; ROLLBACK', then: { a: 'Running' } },
  { name: 'a DELETE that finds nothing', sql: "DELETE FROM JobExecutionLog WHERE jobId = 'z'", then: { a: 'Running' } },
  ...[
    'version = 1000000', 'version = 0', 'version = -1', 'version = NULL', 'version = version + 1', 'seq = 1', 'seq = NULL',
    'seq = 9223372036854775807', 'createdMs = 1, endedMs = 1', 'jobId = jobId'
  ].map(set => ({ name: `SET ${set}`, sql: `UPDATE JobExecutionLog SET ${set}`, then: { a: 'Running' } }))
].map(each => ({ setup: aRunning, ...each }))

const written = (name: string, columns: string, values: string): Case =>
  ({ name, sql: `INSERT INTO JobExecutionLog (jobId, status, ${columns}) VALUES ('a', 'Queued', ${values})`, then: { a: 'Queued' } })

// What others write into the columns of the triggers counts for nothing.
const writingVersions: Case[] = [
  written('a version', 'version', '1000000'),
  written('a version below zero', 'version', '-1'),
  written('no version', 'version', 'NULL'),
  written('a place', 'seq', '1'),
  written('no place', 'seq, createdMs, endedMs', 'NULL, NULL, NULL'),
  {
    name: 'a version and a change',
    setup: aRunning,
    sql: "UPDATE JobExecutionLog SET version = 3, seq = 7, type = 'x'",
    then: { a: 'Running' }
  }
]

type Change = { version: number, jobid: string }

const read = async ({ rows }: ForeignDatabase, jobId: string) => {
  const [record] = await rows('SELECT status, version, seq FROM JobExecutionLog WHERE jobId = $1', [jobId])
  const [dead] = await rows('SELECT version FROM JobTombstone WHERE jobId = $1', [jobId])
  if (record !== undefined && dead !== undefined) throw new Error(`${jobId} is alive and dead`)
  return { status: record?.status ?? (dead === undefined ? 'absent' : 'tombstone'), version: record?.version ?? dead?.version, seq: record?.seq }
}

const logged = ({ rows }: ForeignDatabase) => rows('SELECT version, jobId FROM JobChange ORDER BY version') as Promise<Change[]>

const setUp = async (database: ForeignDatabase, { setup }: Case) => {
  await database.run('DELETE FROM JobExecutionLog; DELETE FROM JobTombstone')
  if (setup !== undefined) await database.run(setup)
  return (await logged(database)).at(-1)?.version ?? 0
}

t.test('changes of another program are numbered and logged', async t => {
  const database = await open(t)
  const hasMerge = Number(await database.value('SHOW server_version_num')) >= 150_000
  const merging: Case[] = hasMerge
    ? [{ name: 'MERGE', setup: aRunning, sql: merge("('a', 'Failed'), ('b', 'Queued')"), then: { a: 'Failed', b: 'Queued' } }]
    : []
  for (const each of [...changing, ...merging, ...writingVersions]) {
    await t.test(each.name, async t => {
      const head = await setUp(database, each)
      await database.run(each.sql)
      const changes = (await logged(database)).filter(({ version }) => version > head)
      for (const [jobId, status] of Object.entries(each.then)) {
        const { version, ...found } = await read(database, jobId)
        t.equal(found.status, status, jobId)
        t.equal(version, changes.findLast(({ jobid }) => jobid === jobId)?.version, `${jobId} has the version of its last change`)
      }
      t.same(new Set(changes.map(({ jobid }) => jobid)), new Set(Object.keys(each.then)), 'only these jobs changed')
    })
  }
})

t.test('what changes nothing draws no version and moves no row', async t => {
  const database = await open(t)
  for (const each of unchanging) {
    await t.test(each.name, async t => {
      const head = await setUp(database, each)
      const before = await read(database, 'a')
      await database.run(each.sql)
      t.strictSame(await read(database, 'a'), before)
      t.equal((await logged(database)).at(-1)?.version, head)
    })
  }
})

t.test('rows are numbered in the order of their insertion, whatever is written', async t => {
  const { run, rows } = await open(t)
  await run(`${insert('a', 'Queued')}; ${insert('b', 'Queued')}`)
  await run(`INSERT INTO JobExecutionLog (jobId, status, seq) VALUES ('c', 'Queued', 1), ('d', 'Queued', 0);
    ${copy('e,Queued').replace('status)', 'status, seq)').replace('Queued', 'Queued,1')}; UPDATE JobExecutionLog SET seq = 0, type = 'x'`)
  const places = await rows('SELECT jobId, seq FROM JobExecutionLog ORDER BY seq')
  t.same(places.map(({ jobid }) => jobid), ['a', 'b', 'c', 'd', 'e'])
  t.equal(new Set(places.map(({ seq }) => seq)).size, 5)
})

t.test('a program need write an id and a status only', async t => {
  const { run, rows } = await open(t)
  await run(insert('bare', 'Running'))
  t.match(await rows('SELECT * FROM JobExecutionLog'), [{
    jobid: 'bare',
    tenant: null,
    submittedby: null,
    type: null,
    starttime: null,
    attempt: 0,
    progresspercent: null,
    haspartialresult: 0,
    createdat: /Z$/
  }])
})

t.test('a deletion removes what belongs to the job, and leaves its bytes to the pruner', async t => {
  const { run, rows, value } = await open(t)
  const counts = () => value(`SELECT (SELECT count(*) FROM JobQueue) + (SELECT count(*) FROM JobInput)
    + (SELECT count(*) FROM JobResult) + (SELECT count(*) FROM JobAttempt) + (SELECT count(*) FROM SanitizationEvent)`)
  await run(`${aRunning}; ${b};
    INSERT INTO JobQueue (jobId, type, maxAttempts, availableAt, seq) SELECT jobId, 'x', 1, 0, seq FROM JobExecutionLog;
    INSERT INTO JobInput (jobId, input, access, inputId) SELECT jobId, '', '', 'of-' || jobId FROM JobExecutionLog;
    INSERT INTO JobResult (jobId, contentType, fileName, sizeBytes, sha256) SELECT jobId, '', '', 0, '' FROM JobExecutionLog;
    INSERT INTO JobAttempt (jobId, run, attempt, leaseHash, startedAt) SELECT jobId, 1, 1, '', 0 FROM JobExecutionLog;
    INSERT INTO SanitizationEvent (jobId, kind, count, at) SELECT jobId, 'x', 1, '' FROM JobExecutionLog;
    INSERT INTO JobResultChunk (jobId, startOffset, bytes) VALUES ('a', 0, 'x');
    INSERT INTO OrphanedBytes (holder, id, forgetAt) VALUES ('JobInputChunk', 'of-a', 5)`)
  t.equal(await counts(), 10)
  await run('SET session_replication_role = replica; DELETE FROM JobExecutionLog')
  t.equal(await counts(), 0)
  t.same(await rows('SELECT holder, id, forgetAt FROM OrphanedBytes ORDER BY holder, id'), [
    { holder: 'JobInputChunk', id: 'of-a', forgetat: 0 }, { holder: 'JobInputChunk', id: 'of-b', forgetat: 0 },
    { holder: 'JobResultChunk', id: 'a', forgetat: 0 }
  ])
  t.equal(await value('SELECT count(*) FROM JobResultChunk'), 1)
})

t.test('texts of any length are taken, whatever index has them', async t => {
  const { run, rows, value } = await open(t)
  // Neither compresses.
  const long = "(SELECT string_agg(md5(n::text), '') FROM generate_series(1, 10000) AS n)"
  const columns = ['type', 'tenant', 'startTime', 'endTime', 'createdAt', 'resultUrl', 'errorDetails', 'submittedBy',
    'progressStage', 'progressMessage', 'cancelRequestedAt', 'expiresAt', 'resultExpiredAt']
  await run(`INSERT INTO JobExecutionLog (jobId, status, ${columns.join()})
    SELECT 'j', 'Succeeded', ${columns.map(() => long).join()}`)
  await run("UPDATE JobExecutionLog SET resultExpiredAt = NULL, createdAt = '2026-01-31'")
  await run(`INSERT INTO JobQueue (jobId, type, tenant, maxAttempts, availableAt, seq) SELECT 'j', 'x', ${long}, 1, 0, 1`)
  t.same(await rows('SELECT length(tenant) AS length FROM JobQueue'), [{ length: 257 }])
  await run('DELETE FROM JobExecutionLog')
  t.equal(await value('SELECT length(tenant) FROM JobTombstone'), 320_000)
})
