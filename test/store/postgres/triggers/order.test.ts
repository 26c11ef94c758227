import t from 'tap'
import { createRandom } from '../../../helpers/random.ts'
import { until } from '../../../helpers/until.ts'
import { startMigrated } from '../migrated.ts'

const { open } = await startMigrated(t, ['deadlock_timeout=10ms'])

const insert = (jobId: string) => `INSERT INTO JobExecutionLog (jobId, status, tenant) VALUES ('${jobId}', 'Queued', 'new')`

t.test('an insertion that waited for a deletion gets a later version than that', async t => {
  const { run, rows, value, connect } = await open(t)
  // An upsert waits for the row that is locked; a plain insertion for the row that is deleted.
  for (const [verb, conflict] of [['upsert', " ON CONFLICT (jobId) DO UPDATE SET type = 'x'"], ['insertion', '']] as const) {
    await run(`DELETE FROM JobExecutionLog; DELETE FROM JobTombstone; DELETE FROM JobChange;
      INSERT INTO JobExecutionLog (jobId, status, tenant) VALUES ('j', 'Running', 'old')`)
    const [holder, waiting] = [await connect(), await connect()]
    await holder.query('BEGIN')
    await holder.query(verb === 'upsert' ? 'UPDATE JobExecutionLog SET attempt = 1' : 'DELETE FROM JobExecutionLog')
    const inserted = waiting.query(insert('j') + conflict)
    await until(async () => await value("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'") === 1)
    if (verb === 'upsert') await holder.query('DELETE FROM JobExecutionLog')
    const { rows: [tombstone] } = await holder.query('SELECT version FROM JobTombstone')
    await holder.query('COMMIT')
    await inserted
    const [record] = await rows('SELECT version, seq FROM JobExecutionLog')
    t.ok(Number(record?.version) > tombstone.version, verb)
    t.ok(Number(record?.seq) < tombstone.version || verb === 'insertion', 'which the one drawn first was not')
    const changes = await rows('SELECT version, readersBefore AS before, readersAfter AS after FROM JobChange ORDER BY version')
    t.same(changes.at(-1), { version: record?.version, before: 'old', after: 'new' }, 'and the log has it once')
    t.equal(changes.filter(({ before, after }) => before === 'old' && after === 'new').length, 1)
    t.equal(await value('SELECT count(*) FROM JobTombstone'), 0)
  }
})

t.test('whatever several programs do at once, the version of a job never falls', async t => {
  const { rows, value, connect } = await open(t)
  const jobIds = ['a', 'b', 'c']
  const statements = (jobId: string) => [
    `DELETE FROM JobExecutionLog WHERE jobId = '${jobId}'`,
    `${insert(jobId)} ON CONFLICT (jobId) DO UPDATE SET attempt = JobExecutionLog.attempt + 1`,
    `${insert(jobId)} ON CONFLICT DO NOTHING`,
    insert(jobId),
    `UPDATE JobExecutionLog SET attempt = attempt + 1 WHERE jobId = '${jobId}'`,
    `WITH gone AS (DELETE FROM JobExecutionLog WHERE jobId = '${jobId}' RETURNING jobId)
      INSERT INTO JobExecutionLog (jobId, status) SELECT jobId, 'Queued' FROM gone`
  ]
  const levels = ['READ COMMITTED', 'READ COMMITTED', 'REPEATABLE READ', 'SERIALIZABLE']
  let committed = 0
  const write = async (_: unknown, seed: number) => {
    const [client, { pick }] = [await connect(), createRandom(seed)]
    for (let transaction = 0; transaction < 100; transaction++) {
      try {
        await client.query(`BEGIN ISOLATION LEVEL ${pick(levels)}`)
        for (let count = 0; count < 3; count++) await client.query(pick(statements(pick(jobIds))))
        await client.query(pick(['COMMIT', 'COMMIT', 'COMMIT', 'ROLLBACK']))
        committed++
      } catch {
        // A conflict with another transaction, or an id that is taken.
        await client.query('ROLLBACK')
      }
    }
  }
  const highest = new Map<unknown, number>()
  let [reads, isOver] = [0, false]
  const read = async () => {
    while (!isOver) {
      const found = await rows('SELECT jobId, version FROM JobExecutionLog UNION ALL SELECT jobId, version FROM JobTombstone')
      for (const { jobid, version } of found) {
        if (Number(version) < (highest.get(jobid) ?? 0)) throw new Error(`${String(jobid)} fell to ${String(version)}`)
        highest.set(jobid, Number(version))
      }
      reads++
    }
  }
  const reading = read()
  await Promise.all(Array.from({ length: 6 }, write))
  isOver = true
  await reading
  t.ok(committed > 100 && reads > 100, `${committed} transactions, ${reads} reads`)
  t.equal(await value(`SELECT count(*) FROM (SELECT jobId, version FROM JobExecutionLog UNION ALL SELECT jobId, version FROM JobTombstone) AS now
    JOIN (SELECT jobId, max(version) AS version FROM JobChange GROUP BY jobId) AS last USING (jobId)
    WHERE now.version <> last.version`), 0, 'each job is at the version of its last change')
})
