import { setImmediate as nextTurn } from 'node:timers/promises'
import { sql } from 'kysely'
import t, { type Test } from 'tap'
import { turnsDuring } from '../../helpers/turns.ts'
import { openForeign } from '../../store/open.ts'
import { always, csv, graceMs, leaseMs, noResult, openCommands, reports } from '../commands.ts'

t.test('the event loop turns while many expired leases are rescued', async t => {
  const { submit, claim, rescueJobs, clock } = await openCommands(t)
  for (let i = 0; i < 60; i++) await submit()
  for (let i = 0; i < 60; i++) await claim()
  clock.ms += leaseMs
  let rescued = 0
  const turns = await turnsDuring(async () => { rescued = await rescueJobs() })
  t.equal(rescued, 60)
  t.ok(turns >= 6, `${turns} turns`)
})

t.test('the event loop turns between jobs to which another program wrote long texts', async t => {
  const { submit, claim, rescueJobs, clock, path } = await openCommands(t)
  for (let i = 0; i < 8; i++) await submit()
  for (let i = 0; i < 8; i++) await claim()
  openForeign(t, path).exec('UPDATE JobExecutionLog SET progressMessage = hex(zeroblob(2200000))')
  clock.ms += leaseMs
  const turns = await turnsDuring(async () => { t.equal(await rescueJobs(), 8) })
  t.ok(turns >= 8, `${turns} turns`)
})

/** Two processes on one database, with one clock, and another program that can lock the database. */
const openProcesses = async (t: Test) => {
  const first = await openCommands(t, undefined, { hasOutages: true })
  const second = await openCommands(t, first.path, { clock: first.clock, hasOutages: true })
  const foreign = openForeign(t, first.path)
  const { clock } = first
  /** Time passes, with a round of both rescuers every half second. Returns how many jobs were rescued. */
  const pass = async (ms: number): Promise<number> => {
    let rescued = 0
    for (const end = clock.ms + ms; clock.ms < end;) {
      clock.ms = Math.min(end, clock.ms + 500)
      rescued += await second.rescueJobs() + await first.rescueJobs()
    }
    return rescued
  }
  /** Time passes while the database is locked; a round of both rescuers and `work` wait for it. */
  const passLocked = async <Value>(ms: number, work: () => Promise<Value>) => {
    foreign.exec('BEGIN IMMEDIATE')
    clock.ms += 500
    const rounds = [second.rescueJobs(), first.rescueJobs()]
    clock.ms += ms - 500
    const value = work()
    // All of them meet the lock before it is released.
    await nextTurn()
    await nextTurn()
    foreign.exec('ROLLBACK')
    return { rescued: await Promise.all(rounds), value: await value }
  }
  return { first, second, clock, pass, passLocked }
}

const nothing = async () => {}

t.test('a lock longer than a lease costs no worker its lease, whichever process gets the lock first', async t => {
  const { first, second, clock, pass, passLocked } = await openProcesses(t)
  await first.submit({ maxAttempts: 1 })
  const claim = await first.claim()
  t.equal(await pass(leaseMs - 1000), 0)
  t.match(await passLocked(2 * leaseMs, nothing), { rescued: [0, 0] })
  t.equal(await pass(4500), 0, 'a worker whose report was rejected has time to repeat it')
  t.match(await second.runJob.heartbeat(claim), { leaseExpiresAt: clock.ms + leaseMs })
  t.equal(await pass(leaseMs - 500), 0)
  t.equal(await pass(500), 1, 'the next time, only the worker is to blame')
})

t.test('outages delay the rescue of a run whose worker is gone by as long as they last', async t => {
  const { first, pass, passLocked } = await openProcesses(t)
  await first.submit()
  await first.claim()
  for (let lock = 0; lock < 4; lock++) {
    t.equal(await pass(leaseMs / 4 - 1000), 0)
    t.match(await passLocked(2000, nothing), { rescued: [0, 0] })
  }
  t.equal(await pass(3500), 0)
  t.equal(await pass(500), 1)
})

t.test('after a jump of the clock, leases and the grace of a cancellation go on with what was left of them', async t => {
  const { first, second, clock, pass } = await openProcesses(t)
  await first.submit()
  const cancelled = await first.submit()
  await first.claim()
  await first.claimJob(reports, 'deaf', 10 * leaseMs)
  await first.cancelJob(cancelled, always)
  t.equal(await pass(leaseMs - 1000), 0)
  clock.ms += 3_600_000
  t.same([await first.rescueJobs(), await second.rescueJobs()], [0, 0])
  t.equal(await pass(4500), 0)
  t.equal(await pass(500), 1)
  t.equal(await pass(graceMs - leaseMs + 1000 - 5500), 0)
  t.equal(await pass(500), 1, 'two processes that saw the same jump do not credit it twice')
  t.match(await first.job(cancelled), { state: 'cancelled' })
})

t.test('an outage does not extend a timeout, but a completion that waited for it comes first', async t => {
  const { first, pass, passLocked } = await openProcesses(t)
  const short = { timeoutSeconds: 10, maxAttempts: 1 }
  const [, lost] = [await first.submit(short), await first.submit(short)]
  const claim = await first.claim()
  await first.claim()
  t.equal(await pass(9000), 0)
  const completion = await passLocked(10_000, () => first.runJob.complete(claim, noResult))
  t.match(completion, { rescued: [0, 0], value: { state: 'succeeded' } })
  t.equal(await pass(5000), 1)
  t.match(await first.job(lost), { state: 'failed', failure: { code: 'TIMEOUT' } })
})

t.test('while writes fail, no lease runs out', async t => {
  const { first, clock } = await openProcesses(t)
  await first.submit()
  const claim = await first.claim()
  const upload = () => first.runJob.append(claim, 0, Buffer.alloc(200_000), csv)
  // SQLite begins and commits empty transactions all the same, as it does on a full disk.
  const forbidWrites = (mode: 'ON' | 'OFF') => sql.raw(`PRAGMA query_only = ${mode}`).execute(first.database.writer)
  await forbidWrites('ON')
  await t.rejects(upload(), { code: 'STORE_UNAVAILABLE' })
  for (let round = 0; round < 2 * leaseMs; round += 500) {
    clock.ms += 500
    await first.rescueJobs().catch(nothing)
  }
  await t.rejects(upload(), { code: 'STORE_UNAVAILABLE' })
  await forbidWrites('OFF')
  t.equal(await first.rescueJobs(), 0)
  t.match(await upload(), { sizeBytes: 200_000 })
})
