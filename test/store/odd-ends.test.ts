import t from 'tap'
import { pruneRecords } from '../../src/store/tx/retention.ts'
import { appended, csv, openCommands, resultRetentionMs } from '../write/commands.ts'
import { openAdopted } from './adopted.ts'
import { openForeign } from './open.ts'

t.test('leaves a record whose end is a number, and prunes those behind it', async t => {
  const { path, transact } = await openAdopted(t)
  const foreign = openForeign(t, path)
  foreign.exec(`INSERT INTO JobExecutionLog (jobId, status, endTime) VALUES
    ('seconds', 'Failed', 1577836800), ('milliseconds', 'Failed', 1577836800000), ('text', 'Failed', '2020-01-01T00:00:00Z')`)
  const { removed, next } = await transact(tx => pruneRecords(tx, 'foreign', Date.UTC(2026, 0, 1), 10, null))
  t.equal(removed, 1)
  t.equal(next, null)
  t.same(foreign.prepare('SELECT jobId FROM JobExecutionLog ORDER BY jobId').pluck().all(), ['milliseconds', 'seconds'])
})

t.test('keeps a result whose due time is not a time, and expires those behind it', async t => {
  const { submit, claim, runJob, expireResults, sql, clock, job } = await openCommands(t)
  const finished = async () => {
    const jobId = await submit()
    const lease = await claim()
    await runJob.append(lease, 0, Buffer.from('abc'), csv)
    await runJob.complete(lease, appended(3))
    return jobId
  }
  const odd = await finished()
  const due = await finished()
  sql(`UPDATE JobExecutionLog SET expiresAt = '' WHERE jobId = '${odd}'`)
  clock.ms += resultRetentionMs
  t.equal(await expireResults(1), 1)
  t.equal(await expireResults(1), 1)
  t.equal(await expireResults(1), 0)
  t.match(await job(odd), { result: { sizeBytes: 3 }, expiresAt: null, resultExpiredAt: null })
  t.match(await job(due), { result: null, resultExpiredAt: clock.ms })
})
