import t, { type Test } from 'tap'
import { createRedisCache } from '../../src/cache/redis-cache.ts'
import { toRedisTarget } from '../../src/config/redis-url.ts'
import { createFixedEpoch } from '../../src/status/epoch/epoch.ts'
import { createExposeMany, type ExposeMany } from '../../src/status/expose.ts'
import { createListStatuses } from '../../src/status/read-status.ts'
import { createListJobs } from '../../src/store/sqlite/readers/job-list.ts'
import { createViews } from '../../src/views/views.ts'
import { createGate, openParts } from '../helpers/parts.ts'
import { replyMsMax, startRedis } from '../helpers/redis.ts'
import { allJobs } from '../store/jobs.ts'

/*
 * G1 for lists: a list shows versions, so no later read may return an older one. Three things could: an older entry in the
 * cache, an older fill in progress, and the list itself if it reaches the cache late.
 */
const redisServer = await startRedis(t)

const openListing = async (t: Test) => {
  const cache = createRedisCache({
    representation: 2,
    target: toRedisTarget(redisServer.url),
    incarnation: t.name.replace(/\W/g, ''),
    random: () => 0,
    onError: () => {},
    replyMsMax
  })
  t.teardown(cache.close)
  await cache.identify()
  const epoch = createFixedEpoch(() => 'e1')
  const fillGate = createGate()
  const listGate = createGate()
  const parts = await openParts(t, {
    cache,
    epoch,
    aroundExposeEntry: expose => async (...args) => {
      await fillGate.pass()
      return await expose(...args)
    }
  })
  const views = createViews({ publicUrl: null, onInvalid: () => {} })
  const exposeMany = createExposeMany({ cache, epoch, views, onExposed: () => {} })
  const gated: ExposeMany = async lookups => {
    await listGate.pass()
    return await exposeMany(lookups)
  }
  const listStatuses = createListStatuses({ list: createListJobs({ database: parts.database }), exposeMany: gated })
  parts.sql("INSERT INTO JobExecutionLog (jobId, status) VALUES ('job-1', 'Running')")
  const listed = async () => {
    const { entries: [entry] } = await listStatuses(allJobs, null, 10)
    return entry?.version ?? 0
  }
  return { ...parts, listed, fillGate, listGate, read: async () => (await parts.readStatus('job-1', 0)).version }
}

t.test('after a list no read returns an older entry', async t => {
  const { read, advance, listed } = await openListing(t)
  const first = await read()
  const version = advance(50)
  t.equal(await read(), first, 'the foreign write has not invalidated the entry yet')
  t.equal(await listed(), version, 'the list shows it')
  t.equal(await read(), version, 'and so does every read from then on')
})

t.test('after a list an older fill in progress has no effect', async t => {
  const { read, advance, listed, fillGate, reads } = await openListing(t)
  fillGate.shut()
  const slow = read()
  await fillGate.reached()
  const version = advance(50)
  t.equal(await listed(), version)
  fillGate.open()
  t.ok(await slow < version, 'it read the record before the change')
  t.equal(await read(), version)
  t.same(reads, ['store', 'store'], 'the late fill left the cell empty')
})

t.test('a list that reaches the cache late does not bring back an older version', async t => {
  const { read, advance, listed, listGate, expose, store } = await openListing(t)
  const first = await read()
  listGate.shut()
  const slow = listed()
  await listGate.reached()
  const version = advance(50)
  await expose(await store.jobs.find('job-1'))
  t.equal(await read(), version)
  const [key = ''] = await redisServer.client.keys(
    'js:alistthatreachesthecachelatedoesnotbringbackanolderversion:*:job-1'
  )
  t.ok(await redisServer.client.exists(key))
  await redisServer.client.del(key)
  listGate.open()
  t.equal(await slow, first)
  t.equal(await read(), version)
})
