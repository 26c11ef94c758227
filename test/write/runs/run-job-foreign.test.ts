import t, { type Test } from 'tap'
import { appended, type Commands, csv, leaseMs, openCommands, reports } from '../commands.ts'

/** A running job of ours whose record another program then changes. */
const runAndThen = async (t: Test, sql: (jobId: string) => string) => {
  const commands = await openCommands(t)
  const jobId = await commands.submit()
  const claim = await commands.claim()
  await commands.runJob.append(claim, 0, Buffer.from('ours'), csv)
  commands.sql(sql(jobId))
  return { ...commands, commands, jobId, lease: claim }
}

/** Neither a report of the worker nor a rescue changes the record, and there is no job left to claim. */
const recordStands = async (t: Test, commands: Commands, lease: { jobId: string, leaseToken: string }) => {
  const { store, claimJob, rescueJobs, runJob, clock, count, changeLog } = commands
  const before = [await store.jobs.find(lease.jobId), changeLog.head()]
  await t.rejects(runJob.heartbeat(lease), { name: 'LeaseLost' })
  await t.rejects(runJob.progress(lease, { percent: 99 }), { name: 'LeaseLost' })
  await t.rejects(runJob.complete(lease, appended(4)), { name: 'LeaseLost' })
  await t.rejects(runJob.fail(lease, { code: 'E', message: 'late' }, true), { name: 'LeaseLost' })
  await t.rejects(runJob.release(lease), { name: 'LeaseLost' })
  clock.ms += leaseMs
  t.equal(await rescueJobs(), 0)
  clock.ms += 3_600_000
  t.equal(await claimJob(reports, 'w', leaseMs), null)
  t.same([await store.jobs.find(lease.jobId), changeLog.head()], before)
  t.same([count('JobQueue'), count('JobResult')], [0, 0])
}

t.test('leaves a running job finished that another program finished', async t => {
  for (const status of ['Succeeded', 'Failed']) {
    await t.test(status, async t => {
      const { commands, lease, jobId, job } = await runAndThen(t, id =>
        `UPDATE JobExecutionLog SET status = '${status}', resultUrl = 'https://x.example/r' WHERE jobId = '${id}'`)
      await recordStands(t, commands, lease)
      t.match(await job(jobId), { state: status.toLowerCase() })
    })
  }
})

t.test('leaves a running job to the program that replaced its record', async t => {
  for (const status of ['Queued', 'Running', 'Succeeded']) {
    await t.test(status, async t => {
      const { commands, lease, jobId, job } = await runAndThen(
        t, id => `REPLACE INTO JobExecutionLog (jobId, status, type) VALUES ('${id}', '${status}', 'report')`
      )
      await recordStands(t, commands, lease)
      t.match(await job(jobId), { state: status.toLowerCase(), submittedBy: null, tenant: null })
    })
  }
})

t.test('drops a running job that another program deleted', async t => {
  const { commands, lease, jobId, store, count } = await runAndThen(
    t, id => `DELETE FROM JobExecutionLog WHERE jobId = '${id}'`
  )
  t.match(await store.jobs.find(jobId), { kind: 'tombstone', tombstone: { tenant: 'acme' } })
  await recordStands(t, commands, lease)
  t.equal(
    count('JobResultChunk'), count("OrphanedBytes WHERE holder = 'JobResultChunk' AND forgetAt = 0"),
    'the pruner finds what it had sent'
  )
  await t.rejects(commands.runJob.append(lease, 4, Buffer.from('more'), csv), { name: 'LeaseLost' })
})

t.test('leaves a job to the program that deleted it and inserted it again', async t => {
  const { commands, lease, jobId, job } = await runAndThen(t, id =>
    `DELETE FROM JobExecutionLog WHERE jobId = '${id}'; INSERT INTO JobExecutionLog (jobId, status) VALUES ('${id}', 'Running')`)
  await recordStands(t, commands, lease)
  t.match(await job(jobId), { state: 'running', submittedBy: null })
})

t.test('a running job that another program queued again can be claimed again', async t => {
  const { commands, lease, jobId, clock, rescueJobs, runJob, claim, job } = await runAndThen(
    t, id => `UPDATE JobExecutionLog SET status = 'Queued' WHERE jobId = '${id}'`
  )
  await t.rejects(runJob.complete(lease, appended(4)), { name: 'LeaseLost' }, 'the old run is void')
  t.match(await job(jobId), { state: 'queued', submittedBy: 'alice' })
  clock.ms += leaseMs
  await rescueJobs()
  const again = await claim()
  t.match(again, { jobId, attempt: 2 })
  await t.rejects(runJob.complete(lease, appended(4)), { name: 'LeaseLost' })
  await runJob.append(again, 0, Buffer.from('more'), csv)
  await runJob.complete(again, appended(4))
  t.equal(String(Buffer.concat(await Array.fromAsync(commands.results.read({ jobId, sha256: 'c2hh' }, 0, 4)))), 'more')
})

t.test('runs a queued job that another program took and gave back', async t => {
  const { submit, claimJob, sql, clock } = await openCommands(t)
  const jobId = await submit()
  sql("UPDATE JobExecutionLog SET status = 'Running'")
  t.equal(await claimJob(reports, 'w', leaseMs), null)
  sql("UPDATE JobExecutionLog SET status = 'Queued'")
  clock.ms += 60_000
  t.match(await claimJob(reports, 'w', leaseMs), { jobId })
})

t.test('does not serve our bytes for a record that another program replaced', async t => {
  const { submit, claim, runJob, sql, store, count } = await openCommands(t)
  const jobId = await submit()
  const lease = await claim()
  await runJob.append(lease, 0, Buffer.from('ours'), csv)
  await runJob.complete(lease, appended(4))
  sql(`REPLACE INTO JobExecutionLog (jobId, status, resultUrl) VALUES ('${jobId}', 'Succeeded', 'https://x.example/r')`)
  t.match(await store.jobs.find(jobId), { job: { state: 'succeeded', result: null, resultUrl: 'https://x.example/r' } })
  t.same([count('JobResult'), count(`OrphanedBytes WHERE id = '${jobId}'`)], [0, 1])
})

t.test('does not run a queued job that another program took', async t => {
  for (const sql of [
    "UPDATE JobExecutionLog SET status = 'Running'", "UPDATE JobExecutionLog SET status = 'Failed'",
    'DELETE FROM JobExecutionLog',
    "REPLACE INTO JobExecutionLog (jobId, status) SELECT jobId, 'Queued' FROM JobExecutionLog"
  ]) {
    await t.test(sql, async t => {
      const { submit, claimJob, store, sql: run, clock } = await openCommands(t)
      const taken = await submit()
      run(sql)
      clock.ms += 1
      const next = await submit()
      const before = await store.jobs.find(taken)
      t.equal((await claimJob(reports, 'w', leaseMs))?.jobId, next, 'the next one is')
      t.equal(await claimJob(reports, 'w', leaseMs), null)
      t.same(await store.jobs.find(taken), before)
    })
  }
})

t.test('never claims, rescues or changes rows of other programs', async t => {
  const { sql, rescueJobs, claimJob, runJob, store, clock, changeLog, exposed } = await openCommands(t)
  sql(
    "INSERT INTO JobExecutionLog (jobId, type, status) VALUES ('q', 'report', 'Queued'), ('r', 'report', 'Running'), ('s', 'report', 'Succeeded')"
  )
  const rows = async () => [
    await store.jobs.find('q'), await store.jobs.find('r'), await store.jobs.find('s'), changeLog.head()
  ]
  const before = await rows()
  clock.ms += 365 * 86_400_000
  t.equal(await claimJob(reports, 'w', leaseMs), null)
  t.equal(await rescueJobs(), 0)
  t.equal(await rescueJobs('w'), 0)
  for (const jobId of ['q', 'r', 's']) {
    await t.rejects(runJob.complete({ jobId, leaseToken: 'x' }, appended(0)), { name: 'LeaseLost' })
    await t.rejects(runJob.progress({ jobId, leaseToken: 'x' }, {}), { name: 'LeaseLost' })
  }
  t.same(await rows(), before)
  t.equal(exposed.length, 0)
})
