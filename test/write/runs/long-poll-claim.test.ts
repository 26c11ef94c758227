import t, { type Test } from 'tap'
import type { ClaimFilter } from '../../../src/store/store.ts'
import { createLongPollClaim } from '../../../src/write/runs/long-poll-claim.ts'
import type { Claim, ClaimJob } from '../../../src/write/runs/claim-job.ts'
import { createGate } from '../../helpers/parts.ts'
import { until } from '../../helpers/until.ts'
import { leaseMs, openCommands } from '../commands.ts'

const never = new AbortController().signal
const mine = (...types: string[]): ClaimFilter => ({ types, tenant: 'acme' })

/** Waiting claims on a real database, with a clock and timers that only the test moves. */
const open = async (t: Test) => {
  const commands = await openCommands(t)
  const gate = createGate()
  let ms = 0
  const timers = new Set<{ at: number, work: () => void }>()
  let checks = 0
  const claimJob: ClaimJob = async (...args) => {
    checks++
    const claimed = await commands.claimJob(...args)
    await gate.pass()
    return claimed
  }
  const awaitClaim = createLongPollClaim({
    claim: claimJob,
    release: commands.runJob.release,
    monotonicNow: () => ms,
    schedule: (work, delayMs) => {
      const timer = { at: ms + delayMs, work }
      timers.add(timer)
      return { cancel: () => { timers.delete(timer) } }
    }
  })
  return {
    ...commands,
    gate,
    awaitClaim,
    checks: () => checks,
    timers,
    /** Begins to wait; resolves once the claim has checked the queue and found no job. */
    wait: async (reach: ClaimFilter, waitMs = 55_000, signal = never) => {
      const waiting = timers.size
      const outcome: { claim?: Claim | null } = {}
      const ended = awaitClaim.claim(reach, 'http:w', leaseMs, waitMs, signal).then(claim => { outcome.claim = claim })
      await until(() => timers.size === waiting + 1, 'a claim that waits')
      return { outcome, ended }
    },
    move: (byMs: number) => {
      ms += byMs
      for (const timer of [...timers]) {
        if (timer.at > ms) continue
        timers.delete(timer)
        timer.work()
      }
    },
    submitAndWake: async (type: string) => {
      const jobId = await commands.submit({ type })
      awaitClaim.wake(type, 'acme')
      return jobId
    }
  }
}

t.test('answers a claim at once if there is a job or no wait was asked for', async t => {
  const { awaitClaim, submit, timers } = await open(t)
  t.equal(await awaitClaim.claim(mine('x'), 'http:w', leaseMs, 0, never), null)
  const jobId = await submit({ type: 'x' })
  t.match(await awaitClaim.claim(mine('x'), 'http:w', leaseMs, 55_000, never), { jobId })
  t.equal(timers.size, 0)
})

t.test('a job wakes waiters of its type and tenant only', async t => {
  const { wait, submitAndWake, awaitClaim, checks } = await open(t)
  const { outcome, ended } = await wait(mine('x', 'y'))
  const before = checks()
  await submitAndWake('z')
  awaitClaim.wake('x', 'other')
  t.equal(checks(), before)
  const jobId = await submitAndWake('y')
  await ended
  t.match(outcome.claim, { jobId })
})

t.test('a job of any tenant wakes a waiter that sees all tenants', async t => {
  const { wait, submitAndWake } = await open(t)
  const { outcome, ended } = await wait({ types: ['x'], tenant: null })
  const jobId = await submitAndWake('x')
  await ended
  t.match(outcome.claim, { jobId })
})

t.test('each job wakes one waiter, the one that has waited longest', async t => {
  const { wait, submitAndWake, move, timers, checks } = await open(t)
  const first = await wait(mine('x'))
  const second = await wait(mine('x'))
  move(1000)
  await until(() => timers.size === 2, 'both to wait again')
  const before = checks()
  const jobId = await submitAndWake('x')
  await first.ended
  t.match(first.outcome.claim, { jobId })
  t.notOk('claim' in second.outcome)
  t.equal(checks(), before + 1)
  const next = await submitAndWake('x')
  await second.ended
  t.match(second.outcome.claim, { jobId: next })
})

t.test('several jobs at once wake as many waiters', async t => {
  const { wait, submit, awaitClaim } = await open(t)
  const all = [await wait(mine('x')), await wait(mine('x')), await wait(mine('x'))]
  const jobIds = [await submit({ type: 'x' }), await submit({ type: 'x' }), await submit({ type: 'x' })]
  for (const _ of jobIds) awaitClaim.wake('x', 'acme')
  await Promise.all(all.map(({ ended }) => ended))
  t.same(all.map(({ outcome }) => outcome.claim?.jobId).toSorted(), jobIds.toSorted())
})

t.test('does not miss a job that is queued while the waiter checks the queue', async t => {
  const { awaitClaim, gate, submit, timers } = await open(t)
  gate.shut()
  const waiting = awaitClaim.claim(mine('x'), 'http:w', leaseMs, 55_000, never)
  await gate.reached()
  const jobId = await submit({ type: 'x' })
  awaitClaim.wake('x', 'acme')
  gate.open()
  t.match(await waiting, { jobId })
  t.equal(timers.size, 0, 'without a pause')
})

t.test('a waiter that was woken for one job and claimed another passes the notice on', async t => {
  const { gate, wait, submitAndWake } = await open(t)
  const first = await wait(mine('y', 'x'))
  const second = await wait(mine('x'))
  gate.shut()
  const older = await submitAndWake('y')
  await gate.reached()
  const newer = await submitAndWake('x')
  t.notOk('claim' in second.outcome)
  gate.open()
  await Promise.all([first.ended, second.ended])
  t.match(first.outcome.claim, { jobId: older })
  t.match(second.outcome.claim, { jobId: newer })
})

t.test('a job without a notice is found by the periodic check, until the wait ends', async t => {
  const { wait, submit, move, timers } = await open(t)
  const { outcome, ended } = await wait(mine('x'), 2500)
  const jobId = await submit({ type: 'x' })
  move(999)
  t.equal(timers.size, 1)
  move(1)
  await ended
  t.match(outcome.claim, { jobId })

  const late = await wait(mine('x'), 2500)
  for (const byMs of [1000, 1000]) {
    move(byMs)
    await until(() => timers.size === 1, 'another check')
  }
  t.notOk('claim' in late.outcome)
  move(500)
  await late.ended
  t.equal(late.outcome.claim, null)
  t.equal(timers.size, 0)
})

t.test('claims no job for a worker that has gone, and serves the next', async t => {
  const { wait, submitAndWake, timers } = await open(t)
  const leaving = new AbortController()
  const gone = await wait(mine('x'), 55_000, leaving.signal)
  const next = await wait(mine('x'))
  leaving.abort()
  await gone.ended
  t.equal(gone.outcome.claim, null)
  const jobId = await submitAndWake('x')
  await next.ended
  t.match(next.outcome.claim, { jobId, attempt: 1 })
  t.equal(timers.size, 0)
})

t.test('a job claimed for a worker that went away meanwhile returns to the queue, for the next', async t => {
  const { awaitClaim, gate, submit, wait, job, claimJob } = await open(t)
  const next = await wait(mine('x'))
  const jobId = await submit({ type: 'x' })
  const leaving = new AbortController()
  gate.shut()
  const gone = awaitClaim.claim(mine('x'), 'http:gone', leaseMs, 0, leaving.signal)
  await gate.reached()
  t.match(await job(jobId), { state: 'running' })
  leaving.abort()
  gate.open()
  t.equal(await gone, null)
  await next.ended
  t.match(next.outcome.claim, { jobId, attempt: 1 })
  t.equal(await claimJob(mine('x'), 'w', leaseMs), null)
})

t.test('once waits are over, a claim takes a job that is there and otherwise returns at once', async t => {
  const { wait, awaitClaim, submit, timers } = await open(t)
  const waiting = await wait(mine('x'))
  awaitClaim.endWaits()
  await waiting.ended
  t.equal(waiting.outcome.claim, null)
  t.equal(await awaitClaim.claim(mine('x'), 'http:w', leaseMs, 55_000, never), null)
  const jobId = await submit({ type: 'x' })
  t.match(await awaitClaim.claim(mine('x'), 'http:w', leaseMs, 55_000, never), { jobId, attempt: 1 })
  t.equal(timers.size, 0)
})

t.test('a drain ends every wait, and no claim succeeds any more', async t => {
  const { wait, awaitClaim, submit, timers } = await open(t)
  const all = [await wait(mine('x')), await wait(mine('y'))]
  await submit({ type: 'x' })
  awaitClaim.stop()
  await Promise.all(all.map(({ ended }) => ended))
  t.same(all.map(({ outcome }) => outcome.claim), [null, null])
  t.equal(await awaitClaim.claim(mine('x'), 'http:w', leaseMs, 55_000, never), null)
  t.equal(timers.size, 0)
})
