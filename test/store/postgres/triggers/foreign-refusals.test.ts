import t from 'tap'
import { startMigrated } from '../migrated.ts'

const { open } = await startMigrated(t)

const insert = (jobId: string, status: string) => `INSERT INTO JobExecutionLog (jobId, status) VALUES ('${jobId}', '${status}')`
const upsert = (status: string) => `${insert('j', status)} ON CONFLICT (jobId) DO UPDATE SET`

// Every way out of a terminal status that SQL offers. Each must be rejected, or leave the status as it is.
const waysOut = (from: string, to: string): string[] => [
  `UPDATE JobExecutionLog SET status = '${to}' WHERE jobId = 'j'`,
  `UPDATE JobExecutionLog SET (type, status, version) = ('x', '${to}', -1)`,
  `${upsert(to)} status = excluded.status`,
  `${upsert(from)} status = '${to}'`,
  `${upsert(to)} status = excluded.status WHERE JobExecutionLog.status = '${from}'`,
  `DELETE FROM JobExecutionLog; ${insert('j', to)}`,
  `BEGIN; DELETE FROM JobExecutionLog; ${insert('j', to)}; COMMIT`,
  `BEGIN; DELETE FROM JobExecutionLog; SAVEPOINT s; ${insert('j', from)}; ROLLBACK TO s; ${insert('j', to)}; COMMIT`,
  `BEGIN; SET CONSTRAINTS ALL DEFERRED; UPDATE JobExecutionLog SET status = '${to}'; COMMIT`,
  `BEGIN ISOLATION LEVEL SERIALIZABLE; DELETE FROM JobExecutionLog; ${insert('j', to)}; COMMIT`,
  `WITH gone AS (DELETE FROM JobExecutionLog RETURNING jobId) INSERT INTO JobExecutionLog (jobId, status) SELECT jobId, '${to}' FROM gone`,
  `DELETE FROM JobExecutionLog; COPY JobExecutionLog (jobId, status) FROM PROGRAM 'printf "k,Queued\\nj,${to}\\n"' WITH (FORMAT csv)`,
  `SET session_replication_role = replica; UPDATE JobExecutionLog SET status = '${to}'`,
  `SET session_replication_role = replica; DELETE FROM JobExecutionLog; ${insert('j', to)}`,
  'TRUNCATE JobExecutionLog', 'TRUNCATE JobExecutionLog, JobTombstone CASCADE', 'SET session_replication_role = replica; TRUNCATE JobExecutionLog CASCADE'
]

const merge = (to: string) => `MERGE INTO JobExecutionLog AS log USING (VALUES ('j', '${to}')) AS s (id, status)
  ON log.jobId = s.id WHEN MATCHED THEN UPDATE SET status = s.status`

t.test('no statement takes a job out of a terminal status', async t => {
  const { run, rows, value } = await open(t)
  const statusOf = async () => {
    const [row] = await rows(`SELECT status FROM JobExecutionLog WHERE jobId = 'j'
      UNION ALL SELECT status FROM JobTombstone WHERE jobId = 'j'`)
    return row?.status
  }
  const hasMerge = Number(await value('SHOW server_version_num')) >= 150_000
  for (const from of ['Succeeded', 'Failed']) {
    for (const to of ['Queued', 'Running', 'Succeeded', 'Failed'].filter(status => status !== from)) {
      await t.test(`from ${from} to ${to}`, async t => {
        for (const sql of [...waysOut(from, to), ...hasMerge ? [merge(to)] : []]) {
          await run(`SET session_replication_role = origin; DELETE FROM JobExecutionLog; DELETE FROM JobTombstone; ${insert('j', from)}`)
          await t.rejects(run(sql), { message: /BR-001|never truncated|truncate a table/ }, sql)
          await run('ROLLBACK')
          t.equal(await statusOf(), from, sql)
        }
      })
    }
  }
})

t.test('a statement that is rejected leaves no row and no change', async t => {
  const { run, isRejected, value } = await open(t)
  await run(insert('j', 'Failed'))
  const changes = await value('SELECT count(*) FROM JobChange')
  for (const sql of [
    "INSERT INTO JobExecutionLog (jobId, status) VALUES ('k', 'Queued'), ('j', 'Queued')",
    `BEGIN; ${insert('k', 'Queued')}; UPDATE JobExecutionLog SET status = 'Running'; COMMIT`,
    "UPDATE JobExecutionLog SET jobId = 'k'"
  ]) t.ok(await isRejected(sql), sql)
  t.equal(await value('SELECT count(*) FROM JobChange'), changes)
  t.equal(await value("SELECT count(*) FROM JobExecutionLog WHERE jobId = 'k'"), 0)
})

t.test('a deleted row may be inserted again, unless it was terminal with another status', async t => {
  const { run, isRejected } = await open(t)
  const statuses = ['Queued', 'Running', 'Succeeded', 'Failed']
  for (const before of statuses) {
    for (const after of statuses) {
      await run(`DELETE FROM JobExecutionLog; DELETE FROM JobTombstone; ${insert('j', before)}; DELETE FROM JobExecutionLog`)
      const isFinal = before === 'Succeeded' || before === 'Failed'
      t.equal(await isRejected(insert('j', after)), isFinal && before !== after, `${before}, ${after}`)
    }
  }
})

t.test('the schema rejects what is no job', async t => {
  const { run, isRejected, value } = await open(t)
  const withMore = (columns: string, values: string) =>
    `INSERT INTO JobExecutionLog (jobId, status, ${columns}) VALUES ('j', 'Running', ${values})`
  const statuses = ["'Paused'", "'queued'", "''", 'NULL', '1']
  const ids = [
    "''", 'NULL', `'${'a'.repeat(129)}'`, "'a b'", "'a/b'", "'ä'", "'a\nb'", "'a\n'", "'a%'", "'{a}'", "'.'", "'..'"
  ]
  for (const sql of [
    ...statuses.map(status => `INSERT INTO JobExecutionLog (jobId, status) VALUES ('j', ${status})`),
    ...ids.map(id => `INSERT INTO JobExecutionLog (jobId, status) VALUES (${id}, 'Queued')`),
    ...['101', '-0.5', "'half'", "'NaN'", "'Infinity'"].map(percent => withMore('progressPercent', percent)),
    withMore('attempt', '-1'), withMore('hasPartialResult', '2'), withMore('cancelledAt', "'2026-01-31'")
  ]) t.ok(await isRejected(sql), sql)
  t.equal(await value('SELECT count(*) FROM JobChange'), 0, 'and nothing of it stays')
  for (const jobId of ['a', 'Az09._~-', '...', 'b'.repeat(128)]) await run(insert(jobId, 'Running'))
  t.ok(await isRejected("UPDATE JobExecutionLog SET status = 'Paused'"))
  t.ok(await isRejected("UPDATE JobExecutionLog SET progressPercent = 101 WHERE jobId = 'a'"))
  t.equal(await value('SELECT count(*) FROM JobExecutionLog'), 4)
})

t.test('a transaction that began before a job ended and was deleted cannot bring it back', async t => {
  const { run, rows, connect } = await open(t)
  for (const level of ['REPEATABLE READ', 'SERIALIZABLE']) {
    await run('DELETE FROM JobExecutionLog; DELETE FROM JobTombstone')
    const old = await connect()
    await old.query(`BEGIN ISOLATION LEVEL ${level}; SELECT 1 FROM JobExecutionLog`)
    await run(`${insert('j', 'Succeeded')}; DELETE FROM JobExecutionLog`)
    await t.rejects(old.query(insert('j', 'Running')), { code: '40001' }, level)
    await old.query(`ROLLBACK; BEGIN ISOLATION LEVEL ${level}; ${insert('k', 'Running')}; COMMIT`)
    t.same(await rows('SELECT jobId FROM JobTombstone'), [{ jobid: 'j' }], 'a new job has no tombstone')
    await t.rejects(old.query(`BEGIN ISOLATION LEVEL ${level}; ${insert('j', 'Running')}`), { message: /BR-001/ })
    await old.query('ROLLBACK')
    await old.query(`BEGIN ISOLATION LEVEL ${level}; ${insert('j', 'Succeeded')}; COMMIT`)
  }
})
