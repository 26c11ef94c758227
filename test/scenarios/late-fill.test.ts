import type { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { decodeEntry, encodeEntry } from '../../src/cache/entry-codec.ts'
import { createRedisCache } from '../../src/cache/redis-cache.ts'
import type { StatusCache } from '../../src/cache/status-cache.ts'
import { createGate, openParts } from '../helpers/parts.ts'
import { startRedis } from '../helpers/redis.ts'

const redisServer = await startRedis(t)

/**
 * The race, step by step on a real Redis and a real database: a reader has read version 1 and is slow to say so;
 * meanwhile version 2 is committed, shown, and its entry evicted. Tells what a read after that gets.
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
  const cache = createRedisCache({ representation: 2, url: redisServer.url, incarnation: 'lease', random: () => 0, onError: () => {} })
  t.teardown(cache.close)
  await cache.identify()
  const { shown, late, after } = await race(t, cache, redisServer.client)
  t.ok(late < shown, 'the slow reader answers what it read before')
  t.equal(after, shown, 'who asks afterwards gets what was shown')
})

t.test('the same steps catch plain set-if-newer', async t => {
  await redisServer.client.flushall()
  const { client } = redisServer
  const keyOf = (epoch: string, jobId: string) => `js:naive:${epoch}:${jobId}`
  const read = async (epoch: string, jobId: string) => {
    const text = await client.get(keyOf(epoch, jobId))
    return text === null ? undefined : decodeEntry(text, jobId, 2)
  }
  const get: StatusCache['get'] = async (epoch, jobId) => {
    const entry = await read(epoch, jobId)
    return entry === undefined ? { kind: 'miss' } : { kind: 'hit', entry }
  }
  const expose: StatusCache['expose'] = async (epoch, entry) => {
    const there = await read(epoch, entry.jobId)
    if (there === undefined || there.version < entry.version) await client.set(keyOf(epoch, entry.jobId), encodeEntry(entry, 2))
  }
  const naive: StatusCache = {
    get,
    getMany: async (epoch, jobIds) => await Promise.all(jobIds.map(async jobId => await get(epoch, jobId))),
    lease: async (_epoch, _jobId, token) => ({ kind: 'token', token }),
    expose,
    exposeMany: async (epoch, entries) => { await Promise.all(entries.map(entry => expose(epoch, entry, null))) },
    invalidate: async () => {},
    close: async () => {}
  }
  const { shown, after } = await race(t, naive, client)
  t.ok(after < shown, 'it goes backward, so the steps are the right ones')
})
