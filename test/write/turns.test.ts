import t, { type Test } from 'tap'
import { turnsDuring } from '../helpers/turns.ts'
import { csv, leaseMs, openCommands } from './commands.ts'

const submitMany = async (t: Test, count: number) => {
  const commands = await openCommands(t)
  for (let i = 0; i < count; i++) await commands.submit()
  return commands
}

t.test('the event loop turns while many expired leases are rescued', async t => {
  const { claim, rescueJobs, clock } = await submitMany(t, 60)
  for (let i = 0; i < 60; i++) await claim()
  clock.ms += leaseMs
  let rescued = 0
  const turns = await turnsDuring(async () => { rescued = await rescueJobs() })
  t.equal(rescued, 60)
  t.ok(turns >= 6, `${turns} turns`)
})

t.test('the event loop turns while a claim skips many jobs that another program ended', async t => {
  const { claimJob, submit, sql, count } = await submitMany(t, 60)
  sql("UPDATE JobExecutionLog SET status = 'Failed'")
  const left = await submit()
  let claimed: string | undefined
  const turns = await turnsDuring(
    async () => { claimed = (await claimJob({ types: ['report'], tenant: null }, 'w', leaseMs))?.jobId }
  )
  t.equal(claimed, left)
  t.equal(count('JobQueue'), 1, 'the next claim does not meet them again')
  t.ok(turns >= 6, `${turns} turns`)
})

t.test('the event loop turns while the bytes of an earlier attempt are removed', async t => {
  const { submit, claim, claimJob, runJob, clock, count } = await openCommands(t)
  await submit()
  const lease = await claim()
  for (let i = 0; i < 100; i++) await runJob.append(lease, i, Buffer.from('x'), csv)
  await runJob.fail(lease, { code: 'X', message: 'x' }, true)
  clock.ms += 60_000
  let attempt: number | undefined
  const turns = await turnsDuring(
    async () => { attempt = (await claimJob({ types: ['report'], tenant: null }, 'w', leaseMs))?.attempt }
  )
  t.equal(attempt, 2)
  t.equal(count('JobResultChunk'), 0)
  t.ok(turns >= 6, `${turns} turns`)
})
