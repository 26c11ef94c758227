import { join } from 'node:path'
import t, { type Test } from 'tap'
import { createRedisCache } from '../../../src/cache/redis-cache.ts'
import { schedule } from '../../../src/clocks.ts'
import { toRedisTarget } from '../../../src/config/redis-url.ts'
import type { Schedule, Timer } from '../../../src/schedule.ts'
import { openCache } from '../../../src/status/epoch/open-cache.ts'
import { startRedis } from '../../helpers/redis.ts'
import { until } from '../../helpers/until.ts'
import { openStore } from '../../store/open.ts'

// What several processes on one database do with their caches, where nothing else keeps them apart.

let nodes = 0

/** Timers, and how many of them are still to come. */
const createTimers = () => {
  const pending = new Set<Timer>()
  const scheduleCounted: Schedule = (work, ms) => {
    const timer = schedule(() => {
      pending.delete(timer)
      work()
    }, ms)
    pending.add(timer)
    return {
      cancel: () => {
        pending.delete(timer)
        timer.cancel()
      }
    }
  }
  return { pending, schedule: scheduleCounted }
}

const open = async (t: Test, path: string, redisUrl: string | null = null) => {
  const { store } = await openStore(t, path)
  const node = `node-${++nodes}`
  const coordination = { node, rows: store.epoch, staleNodes: [], isAlone: false }
  const timers = createTimers()
  let ids = 0
  const opened = await openCache(redisUrl === null ? null : toRedisTarget(redisUrl), coordination, {
    createRedisCache,
    incarnation: store.incarnation,
    representation: 1,
    randomId: () => `${node}-${++ids}`,
    random: () => 0,
    now: () => Date.now(),
    monotonicNow: () => performance.now(),
    schedule: timers.schedule,
    onChange: () => {},
    onError: () => {}
  })
  t.teardown(opened.stop)
  const untilOn = () => until(() => opened.status().mode === 'on', 'the cache to be used')
  return { ...opened, store, untilOn, pendingTimers: () => timers.pending.size }
}

t.test('a process in whose database another one keeps its cache in memory does not start', async t => {
  const path = join(t.testdir(), 'jobs.db')
  const redis = await startRedis(t)
  const first = await open(t, path)
  t.ok(await first.start(), 'the first one starts')
  await first.untilOn()
  for (const url of [null, redis.url]) {
    const second = await open(t, path, url)
    t.notOk(await second.start(), url === null ? 'a second one in memory does not' : 'nor does one with Redis')
    t.not(second.epoch.view().mode, 'on')
    await second.stop()
    await first.untilOn()
  }
})

t.test('a process without Redis does not start beside one with Redis', async t => {
  const path = join(t.testdir(), 'jobs.db')
  const redis = await startRedis(t)
  const first = await open(t, path, redis.url)
  t.ok(await first.start())
  const second = await open(t, path)
  t.notOk(await second.start())
  await second.stop()
  const third = await open(t, path, redis.url)
  t.ok(await third.start(), 'another one with this Redis does')
  await third.untilOn()
})

t.test('what a killed process left behind keeps none from starting', async t => {
  const path = join(t.testdir(), 'jobs.db')
  const first = await open(t, path)
  await first.store.epoch.join('killed', 'its epoch', [])
  t.ok(await first.start())
  await first.untilOn()
})

t.test('a cache that is stopped leaves no timer, which would keep the process alive', async t => {
  const redis = await startRedis(t)
  for (const url of [null, redis.url]) {
    const opened = await open(t, join(t.testdir(), `${url === null ? 'memory' : 'redis'}.db`), url)
    await opened.start()
    await opened.untilOn()
    t.not(opened.pendingTimers(), 0, 'while it is watched there are some')
    await opened.stop()
    t.equal(opened.pendingTimers(), 0)
  }
})
