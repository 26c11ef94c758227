import t, { type Test } from 'tap'
import { always, appended, type Commands, csv, graceMs, leaseMs, noResult, openCommands, reports } from './commands.ts'

const ofAcme = (tenant: string | null) => tenant === 'acme'

const isLost = { name: 'LeaseLost' }

/** A cancellation that changes nothing: no version, no queue item, and no transition is reported. */
const changesNothing = async (
  t: Test, { cancelJob, store, changeLog, transitions, count }: Commands, jobId: string, outcome: string,
  canModify = always
) => {
  const state = async () => [
    await store.jobs.find(jobId), changeLog.head(), transitions.length, count('JobQueue'),
    count('JobQueue WHERE cancelDueAt IS NOT NULL')
  ]
  const before = await state()
  t.equal((await cancelJob(jobId, canModify)).outcome, outcome)
  t.same(await state(), before)
}

t.test('cancels a queued job at once, so that no worker can claim it', async t => {
  const commands = await openCommands(t)
  const { submit, cancelJob, claimJob, job, clock, transitions, asked, count } = commands
  const jobId = await submit()
  clock.ms += 5000
  const { outcome, entry } = await cancelJob(jobId, ofAcme)
  t.equal(outcome, 'cancelled')
  t.match(entry, { jobId, state: 'cancelled', pollAfterMs: 0, canCancel: false, hasResult: false })
  t.match(await job(jobId), {
    state: 'cancelled',
    attempt: 0,
    startedAt: null,
    finishedAt: clock.ms,
    cancelledAt: clock.ms,
    failure: { code: 'JOB_CANCELLED' }
  })
  t.same([count('JobQueue'), count('JobInput')], [0, 1], 'its input is kept')
  t.equal(await claimJob(reports, 'w', leaseMs), null)
  t.same(transitions, [['cancel', 'cancelled']])
  t.same(asked, [], 'no worker runs it')
  await changesNothing(t, commands, jobId, 'cancelled')
})

t.test('cancels a job that waits for its next attempt at once', async t => {
  const { submit, claim, runJob, cancelJob, job } = await openCommands(t)
  const jobId = await submit()
  await runJob.fail(await claim(), { code: 'E', message: 'm' }, true)
  t.equal((await cancelJob(jobId, always)).outcome, 'cancelled')
  t.match(await job(jobId), { state: 'cancelled', attempt: 1, failure: { code: 'JOB_CANCELLED' } })
})

t.test('informs the worker of a running job with its next report, of whatever kind', async t => {
  const commands = await openCommands(t)
  const { submit, claim, runJob, cancelJob, job, clock, transitions, asked } = commands
  const jobId = await submit()
  const lease = await claim()
  t.equal((await runJob.heartbeat(lease)).cancelRequested, false)
  const { outcome, entry } = await cancelJob(jobId, ofAcme)
  t.equal(outcome, 'asked')
  t.match(entry, { state: 'running', canCancel: true })
  t.match(JSON.parse(entry.taskBody), { data: { status: 'running', cancelRequested: true } })
  t.match(await job(jobId), { state: 'running', cancelRequestedAt: clock.ms })
  t.same(asked, [jobId])
  t.same(transitions.at(-1), ['cancel', 'running'])
  t.equal((await runJob.heartbeat(lease)).cancelRequested, true)
  t.equal((await runJob.progress(lease, { percent: 10 })).cancelRequested, true)
  clock.ms += 1
  await changesNothing(t, commands, jobId, 'asked')
  t.same(asked, [jobId, jobId], 'the worker of this process is informed again')
})

t.test('a run that was asked to stop may still succeed; any other end cancels the job', async t => {
  const ends: Array<[
    string, (commands: Commands, lease: Awaited<ReturnType<Commands['claim']>>) => Promise<unknown>, string
  ]> = [
    ['complete', ({ runJob }, lease) => runJob.complete(lease, noResult), 'succeeded'],
    ['a failure for good', ({ runJob }, lease) => runJob.fail(lease, { code: 'E', message: 'm' }, false), 'cancelled'],
    ['a failure to be tried again', ({ runJob }, lease) => runJob.fail(
      lease, { code: 'E', message: 'm' }, true
    ), 'cancelled'],
    ['release', ({ runJob }, lease) => runJob.release(lease), 'cancelled'],
    ['a lost lease', ({ rescueJobs, clock }) => { clock.ms += leaseMs; return rescueJobs() }, 'cancelled']
  ]
  for (const [name, end, state] of ends) {
    await t.test(name, async t => {
      const commands = await openCommands(t)
      const { submit, claim, cancelJob, job, count } = commands
      const jobId = await submit()
      const lease = await claim()
      await cancelJob(jobId, always)
      await end(commands, lease)
      t.match(await job(jobId), { state, ...(state === 'cancelled' ? { failure: { code: 'JOB_CANCELLED' } } : {}) })
      t.equal(count('JobQueue'), 0)
      await changesNothing(t, commands, jobId, state === 'cancelled' ? 'cancelled' : 'finished')
    })
  }
})

t.test('a worker that does not stop loses its job after the grace time, and its bytes are dropped', async t => {
  const { submit, claim, runJob, cancelJob, rescueJobs, job, clock, count, transitions, store } = await openCommands(t)
  const jobId = await submit()
  const lease = await claim()
  await runJob.append(lease, 0, Buffer.from('half'), csv)
  await cancelJob(jobId, always)
  const dueAt = clock.ms + graceMs
  // It goes on reporting, so its lease never runs out; a second cancellation does not restart the grace time.
  while (clock.ms < dueAt - 10_000) {
    clock.ms += 10_000
    await runJob.heartbeat(lease)
    await cancelJob(jobId, always)
    t.equal(await rescueJobs(), 0, `${dueAt - clock.ms} ms before`)
  }
  clock.ms = dueAt - 1
  t.equal(await rescueJobs(), 0)
  t.match(await job(jobId), { state: 'running' })
  clock.ms = dueAt
  t.equal(await rescueJobs(), 1)
  t.match(await job(jobId), { state: 'cancelled', cancelledAt: clock.ms, failure: { code: 'JOB_CANCELLED' } })
  t.same(transitions.at(-1), ['cancel-forced', 'cancelled'])
  const after = await store.jobs.find(jobId)
  await t.rejects(runJob.heartbeat(lease), isLost)
  await t.rejects(runJob.append(lease, 4, Buffer.from('more'), csv), isLost)
  await t.rejects(runJob.complete(lease, appended(4)), isLost)
  await t.rejects(runJob.fail(lease, { code: 'E', message: 'm' }, true), isLost)
  t.same(await store.jobs.find(jobId), after)
  t.same([count('JobQueue'), count('JobResult')], [0, 0])
  t.equal(count("OrphanedBytes WHERE holder = 'JobResultChunk'"), 1, 'its bytes are left to the pruner')
})

t.test('many cancellations at once cancel the job once', async t => {
  const { submit, claim, cancelJob, transitions, changeLog } = await openCommands(t)
  const queued = await submit()
  const all = await Promise.all(Array.from({ length: 20 }, () => cancelJob(queued, always)))
  t.same(all.map(({ outcome }) => outcome), Array.from({ length: 20 }, () => 'cancelled'))
  t.equal(transitions.length, 1)
  const running = await submit()
  await claim()
  const before = changeLog.head()
  const again = await Promise.all(Array.from({ length: 20 }, () => cancelJob(running, always)))
  t.same(again.map(({ outcome }) => outcome), Array.from({ length: 20 }, () => 'asked'))
  t.equal(changeLog.head(), before + 1)
  t.equal(transitions.filter(([event]) => event === 'cancel').length, 2)
})

t.test('leaves a finished job as it is', async t => {
  const commands = await openCommands(t)
  const { submit, claim, runJob } = commands
  const done = await submit()
  await runJob.complete(await claim(), noResult)
  await changesNothing(t, commands, done, 'finished')
  const failed = await submit()
  await runJob.fail(await claim(), { code: 'E', message: 'm' }, false)
  await changesNothing(t, commands, failed, 'finished')
})

t.test("never changes another program's row, whatever its state and the caller's rights", async t => {
  const commands = await openCommands(t)
  commands.sql(`INSERT INTO JobExecutionLog (jobId, status, tenant, cancelledAt) VALUES
    ('q', 'Queued', 'acme', NULL), ('r', 'Running', NULL, NULL), ('s', 'Succeeded', 'acme', NULL), ('c', 'Failed', 'acme', '2026-01-01')`)
  for (const jobId of ['q', 'r', 's', 'c']) await changesNothing(t, commands, jobId, 'not-ours')
})

t.test('answers a forbidden cancellation as if there were no such job', async t => {
  const commands = await openCommands(t)
  const { submit, sql } = commands
  const jobId = await submit()
  await changesNothing(t, commands, jobId, 'forbidden', tenant => tenant !== 'acme')
  await changesNothing(t, commands, 'unknown', 'forbidden')
  sql(`DELETE FROM JobExecutionLog WHERE jobId = '${jobId}'`)
  await changesNothing(t, commands, jobId, 'forbidden')
  sql("PRAGMA ignore_check_constraints = ON; INSERT INTO JobExecutionLog (jobId, status) VALUES ('damaged', 'Paused')")
  await changesNothing(t, commands, 'damaged', 'forbidden')
})

t.test('cancels a job of ours that another program runs after the grace time', async t => {
  const { submit, cancelJob, rescueJobs, sql, clock, job, count } = await openCommands(t)
  const jobId = await submit()
  sql(`UPDATE JobExecutionLog SET status = 'Running' WHERE jobId = '${jobId}'`)
  t.equal((await cancelJob(jobId, always)).outcome, 'asked')
  clock.ms += graceMs
  await rescueJobs()
  t.match(await job(jobId), { state: 'cancelled' })
  t.equal(count('JobQueue'), 0)
})

t.test('a cancellation that another program withdrew does not affect a later run', async t => {
  const { submit, cancelJob, claim, runJob, rescueJobs, sql, clock, job } = await openCommands(t)
  const jobId = await submit()
  sql(`UPDATE JobExecutionLog SET status = 'Running' WHERE jobId = '${jobId}'`)
  await cancelJob(jobId, always)
  sql(`UPDATE JobExecutionLog SET status = 'Queued' WHERE jobId = '${jobId}'`)
  const lease = await claim()
  for (let ms = 0; ms <= graceMs; ms += leaseMs / 2) {
    t.equal((await runJob.heartbeat(lease)).cancelRequested, false)
    t.equal(await rescueJobs(), 0)
    clock.ms += leaseMs / 2
  }
  await runJob.complete(lease, noResult)
  t.match(await job(jobId), { state: 'succeeded' })
})

t.test('a cancellation is committed, then exposed, then reported', async t => {
  const { submit, claim, cancelJob, exposed, asked, transitions } = await openCommands(t)
  const jobId = await submit()
  await claim()
  const before = exposed.length
  await cancelJob(jobId, always)
  t.equal(exposed.length, before + 1)
  t.same(exposed.at(-1)?.lookup, exposed.at(-1)?.committed)
  t.same([asked.length, transitions.length], [1, 2])
})
