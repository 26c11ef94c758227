import t, { type Test } from 'tap'
import type { LeaseHeld } from '../../../src/job/lease.ts'
import { appended, type Commands, csv, given, leaseMs, noResult, openCommands, reports } from '../commands.ts'

const commandsOf = ({ runJob }: Commands): Record<string, (lease: LeaseHeld) => Promise<unknown>> => ({
  heartbeat: lease => runJob.heartbeat(lease),
  progress: lease => runJob.progress(lease, { percent: 90 }),
  append: lease => runJob.append(lease, 0, Buffer.from('late'), csv),
  appended: lease => runJob.appended(lease),
  complete: lease => runJob.complete(lease, appended(0)),
  'complete with bytes': lease => runJob.complete(lease, given('late')),
  'complete without': lease => runJob.complete(lease, { ...noResult, counts: { script: 1 } }),
  fail: lease => runJob.fail(lease, { code: 'E', message: 'late' }, false),
  release: lease => runJob.release(lease)
})

/** Every command rejects this lease and changes nothing. */
const rejectsAll = async (t: Test, commands: Commands, lease: LeaseHeld, except: readonly string[] = []) => {
  const traces = async () => [
    await commands.store.jobs.find(lease.jobId), commands.changeLog.head(), commands.exposed.length,
    ...['JobQueue', 'JobInput', 'JobResult', 'JobResultChunk', 'SanitizationEvent', 'OrphanedBytes', 'JobAttempt']
      .map(commands.count)
  ]
  const before = await traces()
  for (const [name, command] of Object.entries(commandsOf(commands))) {
    if (except.includes(name)) continue
    await t.rejects(command(lease), { name: 'LeaseLost', message: lease.jobId }, name)
    t.same(await traces(), before, `${name} leaves nothing`)
  }
}

t.test('a report after the end of the lease renews it, unless a rescue came first', async t => {
  const commands = await openCommands(t)
  const { clock, runJob, rescueJobs } = commands
  await commands.submit()
  const claim = await commands.claim()
  clock.ms = claim.leaseExpiresAt + 60_000
  t.match(await runJob.heartbeat(claim), { leaseExpiresAt: clock.ms + leaseMs })
  t.equal(await rescueJobs(), 0)
  clock.ms += leaseMs
  t.equal(await rescueJobs(), 1)
  await rejectsAll(t, commands, claim)
})

t.test('rejects the lease of an earlier attempt without disturbing the later one', async t => {
  const commands = await openCommands(t)
  const jobId = await commands.submit()
  const first = await commands.claim()
  commands.clock.ms = first.leaseExpiresAt
  t.equal(await commands.rescueJobs(), 1)
  await rejectsAll(t, commands, first)
  commands.clock.ms += 1000
  const second = await commands.claim()
  await rejectsAll(t, commands, first)
  await commands.runJob.complete(second, appended(0))
  t.match(await commands.job(jobId), { state: 'succeeded', attempt: 2 })
  // These repeat what ended the run.
  await rejectsAll(t, commands, second, ['complete', 'complete without'])
})

t.test('rejects a guessed token and a token of another job', async t => {
  const commands = await openCommands(t)
  const one = await commands.submit()
  await commands.submit()
  const [first, second] = [await commands.claim(), await commands.claim()]
  await rejectsAll(t, commands, { jobId: one, leaseToken: 'guess' })
  await rejectsAll(t, commands, { jobId: one, leaseToken: '' })
  await rejectsAll(t, commands, { jobId: first.jobId, leaseToken: second.leaseToken })
  await rejectsAll(t, commands, { jobId: 'unknown', leaseToken: first.leaseToken })
})

t.test('rejects the lease of a job that its holder may not see, also where it repeats the end', async t => {
  const commands = await openCommands(t)
  await commands.submit()
  const claim = await commands.claim()
  const [seen, hidden] = ['acme', 'other'].map(own => ({ ...claim, maySee: (tenant: string | null) => tenant === own }))
  if (seen === undefined || hidden === undefined) throw new Error('no lease')
  await rejectsAll(t, commands, hidden)
  t.match(await commands.runJob.complete(seen, noResult), { state: 'succeeded' })
  await rejectsAll(t, commands, hidden)
  t.equal(await commands.runJob.findCompleted(hidden), undefined)
  t.match(await commands.runJob.findCompleted(seen), { state: 'succeeded' })
  t.match(await commands.runJob.complete(seen, noResult), { state: 'succeeded' })
})

t.test('queues a job again with a delay if its worker stopped reporting', async t => {
  const { submit, claim, rescueJobs, claimJob, job, clock, exposed } = await openCommands(t)
  const jobId = await submit()
  const { leaseExpiresAt } = await claim()
  clock.ms = leaseExpiresAt - 1
  t.equal(await rescueJobs(), 0)
  clock.ms = leaseExpiresAt
  t.equal(await rescueJobs(), 1)
  t.equal(await rescueJobs(), 0)
  t.match(await job(jobId), { state: 'queued', attempt: 1 })
  t.match(exposed.at(-1), { lookup: { job: { jobId, state: 'queued' } } })
  t.equal(await claimJob(reports, 'w', leaseMs), null)
  clock.ms += 1000
  t.equal((await claim()).attempt, 2)
})

t.test('fails a job whose worker stopped reporting in its last attempt', async t => {
  const { submit, claim, rescueJobs, job, clock, count } = await openCommands(t)
  const jobId = await submit({ maxAttempts: 1 })
  clock.ms = (await claim()).leaseExpiresAt
  t.equal(await rescueJobs(), 1)
  t.match(await job(jobId), { state: 'failed', failure: { code: 'LEASE_EXPIRED' }, finishedAt: clock.ms })
  t.equal(count('JobQueue'), 0)
})

t.test('rescues the jobs of one holder before their leases run out', async t => {
  const { submit, claim, rescueJobs, job } = await openCommands(t)
  const [mine, theirs] = [await submit(), await submit()]
  await claim('mine')
  await claim('theirs')
  t.equal(await rescueJobs('unknown'), 0)
  t.equal(await rescueJobs('mine'), 1)
  t.match(await job(mine), { state: 'queued' })
  t.match(await job(theirs), { state: 'running' })
})

t.test('one rescue takes back any number of jobs', async t => {
  const { submit, claim, rescueJobs, clock, count } = await openCommands(t)
  for (let job = 0; job < 103; job += 1) {
    await submit()
    await claim()
  }
  clock.ms += leaseMs
  t.equal(await rescueJobs(), 103)
  t.equal(count('JobQueue WHERE leaseToken IS NULL'), 103)
})
