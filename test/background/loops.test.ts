import { pino } from 'pino'
import t from 'tap'
import { createLoop } from '../../src/background/loop.ts'
import { createLoops } from '../../src/background/loops.ts'
import { createRelay } from '../../src/background/relay.ts'
import { createMemoryCache } from '../../src/cache/memory-cache.ts'
import { schedule } from '../../src/clocks.ts'
import { createMetrics } from '../../src/metrics.ts'
import { createFixedEpoch } from '../../src/status/epoch/epoch.ts'
import { createInvalidate } from '../../src/status/expose.ts'
import { createChangeFeed } from '../../src/status/feed/change-feed.ts'
import { createGate, openParts } from '../helpers/parts.ts'
import { until } from '../helpers/until.ts'
import { turnsDuring } from '../helpers/turns.ts'

const newCache = () => createMemoryCache({ now: () => 1, random: () => 0 })

/** What loops other than those under test do: nothing. */
const createIdle = () => ({
  rescueJobs: () => Promise.resolve(0),
  callbacks: { runOnce: () => Promise.resolve(), stop: () => Promise.resolve() },
  prune: () => Promise.resolve(),
  checkStore: () => Promise.resolve(),
  pruneIntervalMs: 3_600_000,
  sample: () => Promise.resolve(),
  sampleIntervalMs: 3_600_000,
  metrics: createMetrics()
})

t.test('invalidates every change since it began, once', async t => {
  const { store, sql } = await openParts(t, { cache: newCache() })
  sql("INSERT INTO JobExecutionLog (jobId, status) VALUES ('before', 'Queued')")
  const outdated: Array<[string, number]> = []
  const relay = createRelay({
    follower: await store.changes.follow(),
    invalidate: async (jobId, version) => { outdated.push([jobId, version]) },
    onChanges: () => {},
    onGap: () => { t.fail('no gap') }
  })
  t.equal(await relay(), 0)
  sql("INSERT INTO JobExecutionLog (jobId, status) VALUES ('a', 'Queued'), ('b', 'Queued')")
  sql("UPDATE JobExecutionLog SET status = 'Running' WHERE jobId = 'a'; DELETE FROM JobExecutionLog WHERE jobId = 'b'")
  t.equal(await relay(), 4)
  t.same(outdated.sort(), [['a', 4], ['b', 5]], 'of several changes of a job the last one counts')
  t.equal(await relay(), 0)
  t.equal(outdated.length, 2)
})

t.test('processes a bulk load in several rounds', async t => {
  const { store, sql } = await openParts(t, { cache: newCache() })
  const relay = createRelay({
    follower: await store.changes.follow(), invalidate: () => Promise.resolve(), onChanges: () => {}, onGap: () => {}
  })
  sql(
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12345) INSERT INTO JobExecutionLog (jobId, status) SELECT i, 'Queued' FROM n"
  )
  t.same([await relay(), await relay(), await relay()], [10_000, 2345, 0])
})

t.test('other work gets in between the batches of a bulk load', async t => {
  const { store, sql } = await openParts(t, { cache: newCache() })
  const relay = createRelay({
    follower: await store.changes.follow(), invalidate: () => Promise.resolve(), onChanges: () => {}, onGap: () => {}
  })
  sql(
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) INSERT INTO JobExecutionLog (jobId, status) SELECT i, 'Queued' FROM n"
  )
  const turns = await turnsDuring(async () => { t.equal(await relay(), 5000) })
  t.ok(turns >= 9, `${turns} turns of the event loop`)
})

t.test('repeats a round that failed, from the same change on', async t => {
  const { store, sql } = await openParts(t, { cache: newCache() })
  let isBroken = true
  const relay = createRelay({
    follower: await store.changes.follow(),
    invalidate: () => isBroken ? Promise.reject(new Error('no')) : Promise.resolve(),
    onChanges: () => {},
    onGap: () => {}
  })
  sql("INSERT INTO JobExecutionLog (jobId, status) VALUES ('a', 'Queued')")
  await t.rejects(relay(), /no/)
  isBroken = false
  t.equal(await relay(), 1)
})

t.test('reports a gap if the log was pruned before it was read', async t => {
  const { store, sql } = await openParts(t, { cache: newCache() })
  let gaps = 0
  const relay = createRelay({
    follower: await store.changes.follow(), invalidate: () => Promise.resolve(), onChanges: () => {}, onGap: () => { gaps++ }
  })
  sql("INSERT INTO JobExecutionLog (jobId, status) VALUES ('a', 'Queued'), ('b', 'Queued'), ('c', 'Queued')")
  sql('DELETE FROM JobChange WHERE version <= 2')
  t.equal(await relay(), 1)
  t.equal(gaps, 1)
  sql("UPDATE JobExecutionLog SET status = 'Running'; DELETE FROM JobChange")
  t.equal(await relay(), 0)
  t.equal(gaps, 2, 'also if the log is empty')
  sql("UPDATE JobExecutionLog SET status = 'Failed' WHERE jobId = 'a'")
  t.equal(await relay(), 1)
  t.equal(gaps, 2)
})

t.test('after a gap no earlier cell is used, also in a memory cache, and the relay goes on', async t => {
  let ids = 0
  const cache = newCache()
  const epoch = createFixedEpoch(() => `e${ids++}`)
  const { store, readStatus, sql, advance } = await openParts(t, { cache, epoch })
  const relay = createRelay({
    follower: await store.changes.follow(),
    invalidate: createInvalidate(
      { cache, epoch }
    ),
    onChanges: () => {},
    onGap: () => { epoch.trip(epoch.view(), 'gap') }
  })
  sql("INSERT INTO JobExecutionLog (jobId, status) VALUES ('job-1', 'Running')")
  await readStatus('job-1', 0)
  const version = advance(50)
  sql('DELETE FROM JobChange')
  t.equal(await relay(), 0)
  t.match(await readStatus('job-1', 0), { version })
  const next = advance(60)
  t.equal(await relay(), 1)
  t.match(await readStatus('job-1', 0), { version: next })
})

t.test('goes on after a failure, reports it once, and can be stopped', async t => {
  const health: Array<string | null> = []
  let rounds = 0
  const loop = createLoop({
    runOnce: () => {
      rounds++
      return rounds === 2 || rounds === 3 ? Promise.reject(new Error(`round ${rounds}`)) : Promise.resolve()
    },
    intervalMs: 1,
    onHealth: error => { health.push(error === null ? null : error.message) }
  })
  loop.start()
  await until(() => rounds >= 5)
  await loop.stop()
  t.same(health, ['round 2', null])
})

/** A loop whose rounds wait at a gate, and are counted. */
const createGatedLoop = (intervalMs: number) => {
  const gate = createGate()
  let rounds = 0
  const loop = createLoop({
    runOnce: async () => {
      rounds++
      await gate.pass()
    },
    intervalMs,
    onHealth: () => {}
  })
  return { loop, gate, rounds: () => rounds }
}

t.test('stops after the round that is running', async t => {
  const { loop, gate, rounds } = createGatedLoop(0)
  gate.shut()
  loop.start()
  await gate.reached()
  const stopped = loop.stop()
  gate.open()
  await stopped
  // Timers of a millisecond that were set in the round are due before this one.
  await new Promise(resolve => { setTimeout(resolve, 5) })
  t.equal(rounds(), 1)
})

t.test('runs at once when it is woken, or once the round that is running has ended', async t => {
  const { loop, gate, rounds } = createGatedLoop(3_600_000)
  loop.wake()
  t.equal(rounds(), 0, 'not before it is started')
  gate.shut()
  loop.start()
  await gate.reached()
  loop.wake()
  loop.wake()
  t.equal(rounds(), 1)
  gate.open()
  await until(() => rounds() === 2)
  loop.wake()
  await until(() => rounds() === 3)
  await loop.stop()
  loop.wake()
  t.equal(rounds(), 3)
})

t.test('the loops make up for wake-ups that waiting clients and followers have missed', async t => {
  const { store, watch, readStatus, sql, advance, ...parts } = await openParts(t, { cache: newCache() })
  const feed = createChangeFeed({
    changes: store.changes, readStatus, invalidate: createInvalidate(parts), monotonicNow: () => performance.now(), schedule
  })
  sql("INSERT INTO JobExecutionLog (jobId, status) VALUES ('job-1', 'Running')")
  const never = new Promise<never>(() => {})
  const { version } = await readStatus('job-1', 0)
  const reader = await feed.open(undefined, never)
  if (reader === null) throw new Error('no such place')
  await reader.next()
  const followed = reader.awaitChanges()
  const awaited = watch.awaitEntry('job-1', version, entry => entry.version > version, never)
  // Once it waits, not while it reads.
  await new Promise(setImmediate)
  const changed = advance(50)

  const health: unknown[] = []
  const loops = createLoops({
    relay: () => Promise.resolve(0),
    changes: store.changes,
    watch,
    feed,
    ...createIdle(),
    log: pino({ level: 'warn' }, { write: line => { health.push(line) } })
  })
  t.teardown(() => Promise.all(loops.map(({ stop }) => stop())))
  for (const { start } of loops) start()
  t.match(await awaited, { version: changed })
  await followed
  const { itemsOf } = await reader.next()
  t.match(itemsOf(null), [{ jobId: 'job-1', version: changed }])
  t.same(health, [])
})

t.test('a commit of another process wakes the relay only while clients wait', async t => {
  let [rounds, areWaiting, announce] = [0, false, () => {}]
  const isInUse = () => areWaiting
  const recheck = () => Promise.resolve()
  const loops = createLoops({
    relay: () => Promise.resolve(++rounds),
    changes: {
      isAnnounced: true,
      onAnnounced: wake => {
        announce = wake
        return () => {}
      }
    },
    watch: { isInUse, recheck },
    feed: { isInUse: () => false, recheck },
    ...createIdle(),
    log: pino({ level: 'silent' })
  })
  t.teardown(() => Promise.all(loops.map(({ stop }) => stop())))
  for (const { start } of loops) start()
  await new Promise(setImmediate)
  const before = rounds
  announce()
  t.equal(rounds, before)
  areWaiting = true
  announce()
  t.equal(rounds, before + 1, 'at once')
})
