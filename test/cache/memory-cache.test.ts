import t from 'tap'
import { createMemoryCache } from '../../src/cache/memory-cache.ts'
import { timeToLiveMs, tokenTimeToLiveMs } from '../../src/cache/status-cache.ts'
import { cacheConformance, entryAt } from './conformance.ts'

const e = 'e1'

t.test('keeps the promises of a status cache', t => {
  cacheConformance(t, () => {
    const cache = createMemoryCache({ now: () => 1, random: () => 0, bytesMax: 2500 })
    // With room for two cells, those of two other jobs push any out.
    const evict = async (epoch: string) => {
      for (const jobId of ['pressure', 'more-pressure']) await cache.lease(epoch, jobId, 'p')
    }
    return Promise.resolve({ cache, evict })
  })
  t.end()
})

t.test('cells expire at their time', async t => {
  let now = 1000
  const cache = createMemoryCache({ now: () => now, random: () => 0 })
  await cache.lease(e, 'job-1', 'a')
  now += tokenTimeToLiveMs + 1
  t.same(await cache.lease(e, 'job-1', 'b'), { kind: 'token', token: 'b' }, 'the token of a reader that died')
  await cache.expose(e, entryAt(1), 'b')
  now += 1999
  t.match(await cache.get(e, 'job-1'), { kind: 'hit' })
  now += 2
  t.same(await cache.get(e, 'job-1'), { kind: 'miss' })
})

t.test('is bounded in size', async t => {
  const cache = createMemoryCache({ now: () => 1, random: () => 0, bytesMax: 3600 })
  for (const id of ['a', 'b', 'c', 'd']) {
    await cache.lease(e, id, 'x')
    await cache.expose(e, entryAt(1, { jobId: id }), 'x')
  }
  const hits = await Promise.all(['a', 'b', 'c', 'd'].map(async id => (await cache.get(e, id)).kind))
  t.same(hits, ['miss', 'hit', 'hit', 'hit'])
  await cache.close()
  t.same(await cache.get(e, 'd'), { kind: 'miss' })
})

t.test('times to live are spread, and never longer than their bound', t => {
  const bounds = {
    queued: 2000,
    running: 2000,
    invalid: 2000,
    absent: 3000,
    succeeded: 3_600_000,
    failed: 3_600_000,
    cancelled: 3_600_000,
    expired: 3_600_000
  } as const
  for (const [state, bound] of Object.entries(bounds)) {
    t.equal(timeToLiveMs(state as keyof typeof bounds, 0), bound)
    t.equal(timeToLiveMs(state as keyof typeof bounds, 0.5), bound * 0.9)
    t.ok(timeToLiveMs(state as keyof typeof bounds, 0.999_999) >= bound * 0.8)
  }
  t.end()
})
