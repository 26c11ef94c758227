import t from 'tap'
import { appended, csv, openCommands, resultRetentionMs } from './commands.ts'

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
