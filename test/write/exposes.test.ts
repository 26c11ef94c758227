import { setImmediate as turn } from 'node:timers/promises'
import t from 'tap'
import { until } from '../helpers/until.ts'
import { alice, type Commands, facts, leaseMs, openCommands } from './commands.ts'

type Command = { name: string, prepare: (commands: Commands) => Promise<() => Promise<unknown>>, state: string }

const onClaimed = (run: (commands: Commands, claim: Awaited<ReturnType<Commands['claim']>>) => Promise<unknown>) => async (commands: Commands) => {
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
  { name: 'progress', prepare: onClaimed(({ runJob }, claim) => runJob.progress(claim, { percent: 7 })), state: 'running' },
  { name: 'complete', prepare: onClaimed(({ runJob }, claim) => runJob.complete(claim, facts(0))), state: 'succeeded' },
  { name: 'fail', prepare: onClaimed(({ runJob }, claim) => runJob.fail(claim, { code: 'E', message: 'm' }, false)), state: 'failed' },
  { name: 'release', prepare: onClaimed(({ runJob }, claim) => runJob.release(claim)), state: 'queued' },
  { name: 'rescue', prepare: onClaimed(({ runJob, clock }) => { clock.ms += leaseMs; return runJob.rescue() }), state: 'queued' }
]

t.test('what a command changed is committed, then exposed, then acknowledged', async t => {
  for (const { name, prepare, state } of changes) {
    await t.test(name, async t => {
      const commands = await openCommands(t)
      const { exposed, holdExpose } = commands
      const run = await prepare(commands)
      const before = exposed.length
      const letGo = holdExpose()
      let acknowledged = false
      const running = run().then(() => { acknowledged = true })
      await until(() => exposed.length > before, 'the expose')
      await turn()
      t.equal(acknowledged, false, 'nobody hears of it before the cache does')
      const [seen] = exposed.slice(before)
      t.match(seen, { lookup: { kind: 'job', job: { state } } })
      t.same(seen?.lookup, seen?.committed, 'every connection sees it when it is exposed')
      letGo()
      await running
      t.equal(exposed.length, before + 1)
    })
  }
})

t.test('what changes nothing is not exposed', async t => {
  const { submit, claim, runJob, exposed } = await openCommands(t)
  t.equal(await runJob.rescue(), 0)
  t.equal(await runJob.claim(['report'], 'w', leaseMs), null)
  t.equal(exposed.length, 0)
  await submit()
  const claimed = await claim()
  const before = exposed.length
  await runJob.heartbeat(claimed, leaseMs)
  await runJob.append(claimed, 0, Buffer.from('abc'))
  await t.rejects(runJob.complete(claimed, facts(2)))
  await t.rejects(runJob.progress({ ...claimed, leaseToken: 'x' }, {}))
  t.equal(exposed.length, before)
})

t.test('a cell that holds an older state holds the new one when the command is acknowledged', async t => {
  const { submit, claim, runJob, cache, epoch } = await openCommands(t)
  const jobId = await submit()
  const { epoch: name } = epoch.view()
  await cache.lease(name, jobId, 'reader')
  const claimed = await claim()
  t.same(await cache.get(name, jobId), { kind: 'miss' }, 'the token of the reader is dead')
  await cache.lease(name, jobId, 'late')
  await runJob.complete(claimed, facts(0))
  t.match(await cache.lease(name, jobId, 'next'), { kind: 'token', token: 'next' })
})

t.test('a submitted job is told to the worker after it was exposed, a replayed one is not', async t => {
  const { submitJob, exposed, queued } = await openCommands(t)
  const submission = { type: 'report', input: {} }
  await submitJob(alice, submission, 'key')
  t.same(queued, [1])
  await submitJob(alice, submission, 'key')
  t.same(queued, [1])
  t.equal(exposed.length, 2, 'though its answer is exposed as well')
})
