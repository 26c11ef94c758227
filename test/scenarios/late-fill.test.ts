import type { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { createRedisCache } from '../../src/cache/redis-cache.ts'
import type { StatusCache } from '../../src/cache/status-cache.ts'
import { toRedisTarget } from '../../src/config/redis-url.ts'
import { createGate, openParts } from '../helpers/parts.ts'
import { replyMsMax, startRedis } from '../helpers/redis.ts'

const redisServer = await startRedis(t)

/**
 * The race, step by step on a real Redis and a real database: a reader has loaded version 1 and exposes it late; meanwhile
 * version 2 is committed and exposed, and its entry evicted. A cache that stores whatever is newer fails here, as the
 * model and the mutants of test/status show. Returns what the late reader and a read after it get.
 */
const race = async (t: Test, cache: StatusCache, client: Redis) => {
  const gate = createGate()
  let isSlowReader = false
  const { readStatus, expose, store, sql, advance } = await openParts(t, {
    cache,
    aroundExposeEntry: expose => async (...args) => {
      if (isSlowReader) await gate.pass()
      return await expose(...args)
    }
  })
  sql("INSERT INTO JobExecutionLog (jobId, status) VALUES ('job-1', 'Running')")
  gate.shut()
  isSlowReader = true
  const slow = readStatus('job-1', 0)
  await gate.reached()
  isSlowReader = false

  const version = advance(50)
  await expose(await store.jobs.find('job-1'))
  const [key] = await client.keys('js:*:job-1')
  if (key !== undefined) await client.del(key)

  gate.open()
  const late = await slow
  const after = await readStatus('job-1', 0)
  return { shown: version, late: late.version, after: after.version }
}

t.test('a late fill after an eviction does not bring back an old version', async t => {
  const cache = createRedisCache({
    representation: 2, target: toRedisTarget(redisServer.url), incarnation: 'lease', random: () => 0, onError: () => {}, replyMsMax
  })
  t.teardown(cache.close)
  await cache.identify()
  const { shown, late, after } = await race(t, cache, redisServer.client)
  t.ok(late < shown, 'the slow reader returns what it loaded before')
  t.equal(after, shown, 'a later read gets what was exposed')
})
