import t from 'tap'
import {
  alice, always, appended, type Commands, csv, given, graceMs, leaseMs, openCommands, reports, resultRetentionMs
} from './commands.ts'

type Command = { name: string, prepare: (commands: Commands) => Promise<() => Promise<unknown>>, state: string }

const onClaimed = (
  run: (commands: Commands, claim: Awaited<ReturnType<Commands['claim']>>) => Promise<unknown>
) => async (commands: Commands) => {
  await commands.submit()
  const claim = await commands.claim()
  return () => run(commands, claim)
}

const changes: Command[] = [
  { name: 'submit', prepare: async ({ submit }) => () => submit(), state: 'queued' },
  {
    name: 'claim',
    prepare: async ({ submit, claim }) => {
      await submit()
      return () => claim()
    },
    state: 'running'
  },
  {
    name: 'progress',
    prepare: onClaimed(
      ({ runJob }, claim) => runJob.progress(claim, { percent: 7 })
    ),
    state: 'running'
  },
  {
    name: 'append',
    prepare: onClaimed(
      ({ runJob }, claim) => runJob.append(claim, 0, Buffer.from('abc'), csv)
    ),
    state: 'running'
  },
  {
    name: 'complete',
    prepare: onClaimed(
      ({ runJob }, claim) => runJob.complete(claim, appended(0))
    ),
    state: 'succeeded'
  },
  {
    name: 'complete with bytes',
    prepare: onClaimed(
      ({ runJob }, claim) => runJob.complete(claim, given('abc'))
    ),
    state: 'succeeded'
  },
  {
    name: 'fail',
    prepare: onClaimed(
      ({ runJob }, claim) => runJob.fail(claim, { code: 'E', message: 'm' }, false)
    ),
    state: 'failed'
  },
  { name: 'release', prepare: onClaimed(({ runJob }, claim) => runJob.release(claim)), state: 'queued' },
  {
    name: 'rescue',
    prepare: onClaimed(({
      rescueJobs, clock
    }) => { clock.ms += leaseMs; return rescueJobs() }),
    state: 'queued'
  },
  {
    name: 'cancel of a queued job',
    prepare: async ({ submit, cancelJob }) => {
      const jobId = await submit()
      return () => cancelJob(jobId, always)
    },
    state: 'cancelled'
  },
  {
    name: 'cancel of a running job',
    prepare: onClaimed(
      ({ cancelJob }, { jobId }) => cancelJob(jobId, always)
    ),
    state: 'running'
  },
  {
    name: 'cancel, forced',
    prepare: async commands => {
      await commands.submit()
      const { jobId } = await commands.claim()
      await commands.cancelJob(jobId, always)
      commands.clock.ms += graceMs
      return () => commands.rescueJobs()
    },
    state: 'cancelled'
  },
  {
    name: 'expire',
    prepare: async commands => {
      await commands.submit()
      await commands.runJob.complete(await commands.claim(), given('abc'))
      commands.clock.ms += resultRetentionMs
      return () => commands.expireResults(10)
    },
    state: 'succeeded'
  },
  {
    name: 'erase',
    prepare: async commands => {
      const jobId = await commands.submit()
      await commands.cancelJob(jobId, always)
      return () => commands.eraseJob(jobId, always)
    },
    state: 'tombstone'
  }
]

t.test('each command exposes the job as it leaves it, once', async t => {
  for (const { name, prepare, state } of changes) {
    await t.test(name, async t => {
      const commands = await openCommands(t)
      const { exposed } = commands
      const run = await prepare(commands)
      const before = exposed.length
      await run()
      t.equal(exposed.length, before + 1)
      const [seen] = exposed.slice(before)
      t.match(seen?.lookup, state === 'tombstone' ? { kind: state } : { kind: 'job', job: { state } })
      t.same(seen?.lookup, seen?.committed, 'every connection sees it when it is exposed')
    })
  }
})

t.test('a command that changes nothing exposes nothing', async t => {
  const { submit, claim, rescueJobs, claimJob, expireResults, runJob, exposed } = await openCommands(t)
  t.equal(await rescueJobs(), 0)
  t.equal(await claimJob(reports, 'w', leaseMs), null)
  t.equal(await expireResults(10), 0)
  t.equal(exposed.length, 0)
  await submit()
  const claimed = await claim()
  await runJob.append(claimed, 0, Buffer.from('abc'), csv)
  const before = exposed.length
  await runJob.heartbeat(claimed)
  await runJob.append(claimed, 3, Buffer.from('def'), csv)
  await runJob.append(claimed, 6, Buffer.from(''), csv)
  await runJob.appended(claimed)
  await t.rejects(runJob.complete(claimed, appended(2)))
  await t.rejects(runJob.progress({ ...claimed, leaseToken: 'x' }, {}))
  t.equal(exposed.length, before)
})

t.test('no cell holds an older state once a command is acknowledged', async t => {
  const { submit, claim, runJob, cache, epoch } = await openCommands(t)
  const jobId = await submit()
  const { epoch: name } = epoch.view()
  await cache.lease(name, jobId, 'reader')
  const claimed = await claim()
  t.same(await cache.get(name, jobId), { kind: 'miss' }, 'the token of the reader is dead')
  await cache.lease(name, jobId, 'late')
  await runJob.complete(claimed, appended(0))
  t.match(await cache.lease(name, jobId, 'next'), { kind: 'token', token: 'next' })
})

t.test('wakes the worker for a new job after it was exposed, and not for a replayed submission', async t => {
  const { submitJob, exposed, queued } = await openCommands(t)
  const submission = { type: 'report', input: {} }
  await submitJob(alice, submission, 'key')
  t.same(queued, [1])
  await submitJob(alice, submission, 'key')
  t.same(queued, [1])
  t.equal(exposed.length, 2, 'though its answer is exposed as well')
})
