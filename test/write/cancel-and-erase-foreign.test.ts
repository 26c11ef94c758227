import t from 'tap'
import { always, graceMs, leaseMs, openCommands } from './commands.ts'

const ask = (jobId: string) =>
  `UPDATE JobExecutionLog SET cancelRequestedAt = '2026-01-31T12:00:00Z' WHERE jobId = '${jobId}'`

t.test('a cancellation that another program requested reaches the worker, and is forced after the grace time', async t => {
  const { submit, claim, runJob, rescueJobs, sql, clock, job } = await openCommands(t)
  for (const report of [
    runJob.heartbeat, lease => runJob.progress(lease, { percent: 1 })
  ] satisfies Array<typeof runJob.heartbeat>) {
    const jobId = await submit()
    const lease = await claim()
    t.equal((await report(lease)).cancelRequested, false)
    sql(ask(jobId))
    t.equal((await report(lease)).cancelRequested, true)
    clock.ms += leaseMs / 2
    t.equal((await report(lease)).cancelRequested, true)
    for (let ms = 0; ms < graceMs; ms += leaseMs / 2) {
      t.equal((await job(jobId)).state, 'running', 'the worker has its time')
      await report(lease)
      clock.ms += leaseMs / 2
      await rescueJobs()
      if ((await job(jobId)).state !== 'running') break
    }
    t.equal((await job(jobId)).state, 'cancelled')
    await t.rejects(report(lease), { name: 'LeaseLost' })
  }
})

t.test('a cancellation that another program withdrew leaves the run to its worker', async t => {
  const { submit, claim, runJob, rescueJobs, cancelJob, sql, clock, job } = await openCommands(t)
  const jobId = await submit()
  const lease = await claim()
  t.equal((await cancelJob(jobId, always)).outcome, 'asked')
  sql(`UPDATE JobExecutionLog SET cancelRequestedAt = NULL WHERE jobId = '${jobId}'`)
  t.equal((await runJob.heartbeat(lease)).cancelRequested, false)
  for (let ms = 0; ms <= graceMs; ms += leaseMs / 2) {
    clock.ms += leaseMs / 2
    await runJob.heartbeat(lease)
    await rescueJobs()
  }
  t.equal((await job(jobId)).state, 'running')
  await runJob.complete(lease, { kind: 'none' })
  t.equal((await job(jobId)).state, 'succeeded')
})
