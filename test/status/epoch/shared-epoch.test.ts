import t, { type Test } from 'tap'
import { CacheUnusable } from '../../../src/cache/status-cache.ts'
import { createFixedEpoch } from '../../../src/status/epoch/epoch.ts'
import { createWorld } from './epoch-world.ts'

/** A process alone on its database, in use of its cache. */
const alone = async (t: Test) => {
  const world = await createWorld(t)
  const node = await world.start()
  return { ...world, node, epoch: node.epoch }
}

t.test('begins off, and is on once the server has shown that it works', async t => {
  const world = await createWorld(t)
  const node = world.enter()
  t.equal(node.mode(), 'off')
  await node.epoch.start()
  t.equal(node.mode(), 'on')
  t.match(node.changes, [{ mode: 'on', reason: null }])
  t.equal(node.changes.length, 1)
})

t.test('a server that is away from the start is reported once, with the reason', async t => {
  const { start, pass } = await createWorld(t)
  const node = await start({ redis: new Error('ECONNREFUSED') })
  await pass(5000)
  t.match(node.changes, [{ mode: 'off', reason: 'ECONNREFUSED' }])
  t.equal(node.changes.length, 1)
  node.redis('redis-1')
  await pass(2100)
  t.equal(node.mode(), 'on')
})

t.test('a server that answers and needs its operator is reported with the reason, once, and used when it is put right', async t => {
  const { start, pass } = await createWorld(t)
  const node = await start({ redis: new Error('ECONNREFUSED') })
  node.redis(new CacheUnusable('WRONGPASS'))
  await pass(20_000)
  node.redis(new Error('ECONNREFUSED'))
  await pass(20_000)
  node.redis(new CacheUnusable('NOPERM'))
  await pass(20_000)
  t.match(node.epoch.status(), { reason: 'Redis cannot be used: NOPERM' }, 'the reason of this moment')
  t.same(node.changes.map(({ mode, reason }) => `${mode} ${reason}`), [
    'off ECONNREFUSED', 'off Redis cannot be used: WRONGPASS'
  ])
  node.redis('redis-1')
  await pass(2100)
  t.equal(node.mode(), 'on')
})

t.test('the status is off once reads of the rows hang for longer than the lease, and on again after an answer', async t => {
  const { node, epoch, pass } = await alone(t)
  node.holdRefreshes(true)
  await pass(900)
  t.equal(epoch.status().mode, 'on')
  await pass(400)
  t.match(epoch.status(), { mode: 'off', reason: /^the database cannot be read/ })
  await pass(5000)
  t.same(node.changes.map(({ mode }) => mode), ['on', 'off'], 'reported once')
  node.holdRefreshes(false)
  await pass(500)
  t.same(node.changes.map(({ mode }) => mode), ['on', 'off', 'on'])
})

t.test('a standstill of the process alone is not reported: the next read is answered', async t => {
  const { node, pass } = await alone(t)
  node.pause()
  await pass(5000)
  node.resume()
  await pass(500)
  t.equal(node.mode(), 'on')
  t.same(node.changes.map(({ mode }) => mode), ['on'])
})

t.test('alone: a trip ends the epoch at once, for good, and no request waits', async t => {
  const { node, epoch, pass, settle } = await alone(t)
  const before = epoch.view()
  epoch.trip(before, 'a reply was lost')
  t.equal(node.mode(), 'off')
  t.equal(await node.mayReveal(), true, 'and no time has passed')
  t.match(epoch.status(), { mode: 'off', reason: 'a reply was lost' })
  await settle()
  t.not(epoch.view().epoch, before.epoch)
  await pass(200)
  t.equal(node.mode(), 'on')
  t.not(epoch.view().epoch, before.epoch, 'what late commands do to the old cells is of no concern')
  t.equal(node.changes.length, 3)
})

t.test('alone: a trip that the database does not accept yet delays no request, and is written later', async t => {
  const { node, epoch, pass, path, settle } = await alone(t)
  const { default: SqliteDatabase } = await import('better-sqlite3')
  const foreign = new SqliteDatabase(path)
  t.teardown(() => { foreign.close() })
  const before = epoch.view()
  foreign.exec('BEGIN IMMEDIATE')
  epoch.trip(before, 'a reply was lost')
  await settle()
  t.match(epoch.view(), { mode: 'off', epoch: before.epoch })
  t.equal(await node.mayReveal(), true)
  foreign.exec('COMMIT')
  for (let i = 0; i < 1000 && epoch.view().epoch === before.epoch; i++) await settle()
  await pass(300)
  t.equal(node.mode(), 'on')
  t.not(epoch.view().epoch, before.epoch)
})

t.test('a trip of a view whose epoch has ended does nothing', async t => {
  const { epoch, pass } = await alone(t)
  const before = epoch.view()
  epoch.trip(before, 'first')
  await pass(200)
  const after = epoch.view()
  epoch.trip(before, 'the same, late')
  t.equal(epoch.view(), after)
})

t.test('the time between probes grows up to two seconds while the server stays away, and nothing is reported twice', async t => {
  const { node, epoch, pass } = await alone(t)
  node.redis(new Error('away'))
  epoch.trip(epoch.view(), 'lost')
  node.trials.length = 0
  await pass(20_000)
  const waits = node.trials.slice(1).map((at, index) => at - (node.trials[index] ?? 0))
  t.same(waits.slice(0, 6), [100, 200, 400, 800, 1600, 2000])
  t.ok(waits.slice(6).every(wait => wait === 2000))
  t.equal(node.changes.length, 2)
  node.redis('redis-1')
  await pass(2100)
  t.equal(node.mode(), 'on')
})

t.test('a server that flaps is left alone for longer each time; one that held for 10 s is used again soon', async t => {
  const { node, epoch, pass } = await alone(t)
  await pass(10_000)
  const offFor = async () => {
    epoch.trip(epoch.view(), 'flap')
    let ms = 0
    for (; node.mode() === 'off'; ms += 100) await pass(100)
    return ms
  }
  // It comes back with the refresh that follows.
  const isAbout = (ms: number, least: number) => t.ok(ms >= least && ms <= least + 100, `off for ${ms} ms`)
  for (const leastMs of [100, 200, 400, 800, 1600, 2000, 2000]) isAbout(await offFor(), leastMs)
  await pass(10_000)
  isAbout(await offFor(), 100)
})

t.test('another server at the same address ends the epoch within a second', async t => {
  const { node, epoch, pass } = await alone(t)
  const before = epoch.view()
  node.redis('redis-2')
  await pass(1000)
  t.not(epoch.view().epoch, before.epoch)
  t.equal(epoch.status().reason, 'another server')
  await pass(300)
  t.equal(node.mode(), 'on', 'and is used then')
})

t.test('a server that can no longer be used is noticed without a request', async t => {
  const { node, epoch, pass } = await alone(t)
  node.redis(new Error('Redis is not a master'))
  await pass(1000)
  t.match(epoch.status(), { mode: 'off', reason: 'Redis is not a master' })
})

t.test('a probe that was under way at a trip proves nothing, and does not keep the server from coming back', async t => {
  const { node, epoch, pass } = await alone(t)
  const letGo = node.hold()
  await pass(1000)
  epoch.trip(epoch.view(), 'a reply was lost')
  node.redis(new Error('away'))
  letGo('redis-1')
  await pass(500)
  t.equal(node.mode(), 'off')
  node.redis('redis-1')
  await pass(2500)
  t.equal(node.mode(), 'on')
})

t.test('after a lost connection while the cache is off the server has to be probed again', async t => {
  const { node, epoch, pass } = await alone(t)
  epoch.trip(epoch.view(), 'first')
  node.redis(new Error('away'))
  epoch.disconnect('connection lost')
  await pass(5000)
  t.equal(node.mode(), 'off')
})

t.test('a view whose lease is over is off; a request that would reveal something renews it', async t => {
  const { node, epoch, pass } = await alone(t)
  const before = epoch.view()
  node.pause()
  await pass(999)
  t.same(epoch.view(), before)
  await pass(1)
  t.match(epoch.view(), { epoch: before.epoch, mode: 'off' })
  t.equal(await epoch.awaitOldLeases(), false)
  t.same(epoch.view(), before)
})

t.test('alone: while the rows cannot be read the cache is off once the lease is over, and comes back', async t => {
  const { node, epoch, pass } = await alone(t)
  const before = epoch.view()
  node.blind(true)
  await pass(900)
  t.same(epoch.view(), before)
  await pass(100)
  t.match(epoch.view(), { epoch: before.epoch, mode: 'off' })
  t.equal(await node.mayReveal(), false, 'another process may have started meanwhile')
  await pass(60_000)
  node.blind(false)
  await pass(200)
  t.same(epoch.view(), before, 'nothing has changed')
  t.same(node.changes.map(({ mode }) => mode), ['on', 'off', 'on'])
})

t.test('stops for good, and removes its row', async t => {
  const { epoch, timers, rows, node } = await alone(t)
  await epoch.stop()
  t.equal(timers().length, 0)
  t.same(rows().nodes, [])
  epoch.trip(epoch.view(), 'x')
  t.equal(timers().length, 0)
  node.pause()
  await t.rejects(epoch.awaitOldLeases(), { code: 'STORE_UNAVAILABLE' })
})

t.test('the epoch of a cache in memory is always on, and a new one begins when its cells are no longer valid', async t => {
  let ids = 0
  const epoch = createFixedEpoch(() => `e${ids++}`)
  const before = epoch.view()
  t.same(before, { epoch: 'e0', mode: 'on' })
  epoch.trip(before, 'a gap')
  epoch.trip(before, 'the same, late')
  t.same(epoch.view(), { epoch: 'e1', mode: 'on' })
  t.equal(await epoch.awaitOldLeases(), false)
})
