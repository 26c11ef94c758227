import type { Test } from 'tap'
import type { Entry, StatusCache } from '../../src/cache/status-cache.ts'

/** An entry of one job at one version, the newer the higher. */
export const entryAt = (version: number, more: Partial<Entry> = {}): Entry => {
  const jobId = more.jobId ?? 'job-1'
  return {
    jobId,
    version,
    tenant: 'acme',
    state: 'running',
    percent: 40,
    pollAfterMs: 1000,
    expiredAt: 0,
    v1Body: `{"jobId":"${jobId}","v":${version}}`,
    taskBody: `{"success":true,"data":{"v":${version}}}`,
    ...more
  }
}

export const absent: Entry = entryAt(0, { state: 'absent', tenant: null, percent: 0, pollAfterMs: 0, v1Body: '', taskBody: '' })

/** A cache under test; `evict` empties a cell as memory pressure would. */
export type CacheUnderTest = { cache: StatusCache, evict: (epoch: string, jobId: string) => Promise<void> }

/** What every cache promises (src/cache/status-cache.ts). `open` makes an empty one for each test. */
export const cacheConformance = (t: Test, open: (t: Test) => Promise<CacheUnderTest>): void => {
  const epoch = 'e1'

  const filled = async (cache: StatusCache, entry: Entry) => {
    const lease = await cache.lease(epoch, entry.jobId, 'filler')
    if (lease.kind === 'token') await cache.expose(epoch, entry, lease.token)
  }

  t.test('an empty cell is a miss, and takes the token offered', async t => {
    const { cache } = await open(t)
    t.same(await cache.get(epoch, 'job-1'), { kind: 'miss' })
    t.same(await cache.lease(epoch, 'job-1', 'a'), { kind: 'token', token: 'a' })
    t.same(await cache.get(epoch, 'job-1'), { kind: 'miss' }, 'a token is no hit')
  })

  t.test('a token is shared: who comes later gets the first one', async t => {
    const { cache } = await open(t)
    await cache.lease(epoch, 'job-1', 'a')
    t.same(await cache.lease(epoch, 'job-1', 'b'), { kind: 'token', token: 'a' })
  })

  t.test('a fill with the token of the cell becomes the entry, whole', async t => {
    const { cache } = await open(t)
    const entry = entryAt(7, { tenant: 'ünï "tenant"\n', taskBody: '{"success":true,"data":{"text":"\\u0000 ☃ 𝒳"}}' })
    await filled(cache, entry)
    t.same(await cache.get(epoch, 'job-1'), { kind: 'hit', entry })
    t.same(await cache.lease(epoch, 'job-1', 'z'), { kind: 'hit', entry }, 'an entry is leased as it is')
  })

  t.test('an empty cell stays empty: an exposure without a token fills nothing', async t => {
    const { cache } = await open(t)
    await cache.expose(epoch, entryAt(7), null)
    await cache.expose(epoch, entryAt(7), 'never-leased')
    t.same(await cache.get(epoch, 'job-1'), { kind: 'miss' })
  })

  t.test('an exposure kills a fill under way', async t => {
    const { cache } = await open(t)
    await cache.lease(epoch, 'job-1', 'a')
    await cache.expose(epoch, entryAt(8), null)
    await cache.expose(epoch, entryAt(7), 'a')
    t.same(await cache.get(epoch, 'job-1'), { kind: 'miss' }, 'the late fill, older than what was exposed, is dropped')
  })

  t.test('an exposure with a token of another fill kills the one under way', async t => {
    const { cache } = await open(t)
    await cache.lease(epoch, 'job-1', 'a')
    await cache.expose(epoch, entryAt(8), 'b')
    t.same(await cache.lease(epoch, 'job-1', 'c'), { kind: 'token', token: 'c' })
  })

  t.test('an entry only moves forward', async t => {
    const { cache } = await open(t)
    await filled(cache, entryAt(7))
    await cache.expose(epoch, entryAt(6), null)
    t.match(await cache.get(epoch, 'job-1'), { entry: { version: 7 } }, 'older: kept')
    await cache.expose(epoch, entryAt(9), null)
    t.match(await cache.get(epoch, 'job-1'), { entry: { version: 9 } }, 'newer: replaced')
    await cache.expose(epoch, entryAt(10), 'stale-token')
    t.match(await cache.get(epoch, 'job-1'), { entry: { version: 10 } }, 'newer, with a token of old: replaced')
  })

  t.test('versions are compared as numbers', async t => {
    const { cache } = await open(t)
    await filled(cache, entryAt(9))
    await cache.expose(epoch, entryAt(10), null)
    t.match(await cache.get(epoch, 'job-1'), { entry: { version: 10 } })
    await cache.expose(epoch, entryAt(Number.MAX_SAFE_INTEGER - 1), null)
    await cache.expose(epoch, entryAt(Number.MAX_SAFE_INTEGER), null)
    t.match(await cache.get(epoch, 'job-1'), { entry: { version: Number.MAX_SAFE_INTEGER } })
  })

  t.test('known absence is an entry, and gives way to any version', async t => {
    const { cache } = await open(t)
    await filled(cache, absent)
    t.same(await cache.get(epoch, 'job-1'), { kind: 'hit', entry: absent })
    await cache.expose(epoch, entryAt(1), null)
    t.match(await cache.get(epoch, 'job-1'), { entry: { version: 1 } })
    await cache.expose(epoch, absent, null)
    t.match(await cache.get(epoch, 'job-1'), { entry: { version: 1 } }, 'and never comes back over one')
  })

  t.test('what plain set-if-newer loses: a late fill after an eviction', async t => {
    const { cache, evict } = await open(t)
    const slow = await cache.lease(epoch, 'job-1', 'slow')
    await cache.expose(epoch, entryAt(2), null)
    await filled(cache, entryAt(2))
    await evict(epoch, 'job-1')
    await cache.expose(epoch, entryAt(1), slow.kind === 'token' ? slow.token : null)
    t.same(await cache.get(epoch, 'job-1'), { kind: 'miss' }, 'version 1 was read before version 2 was shown')
  })

  t.test('outdating empties a cell that may hold something older, and no other', async t => {
    const { cache } = await open(t)
    await cache.outdate(epoch, 'job-1', 7)
    t.same(await cache.get(epoch, 'job-1'), { kind: 'miss' }, 'an empty cell stays empty')
    await filled(cache, entryAt(7))
    await cache.outdate(epoch, 'job-1', 7)
    t.match(await cache.get(epoch, 'job-1'), { entry: { version: 7 } }, 'as new as that: kept')
    await cache.outdate(epoch, 'job-1', 10)
    t.same(await cache.get(epoch, 'job-1'), { kind: 'miss' }, 'older: gone')
    const lease = await cache.lease(epoch, 'job-1', 'a')
    await cache.outdate(epoch, 'job-1', 11)
    await cache.expose(epoch, entryAt(10), lease.kind === 'token' ? lease.token : null)
    t.same(await cache.get(epoch, 'job-1'), { kind: 'miss' }, 'a fill that began before is killed')
    await filled(cache, absent)
    await cache.outdate(epoch, 'job-1', 1)
    t.same(await cache.get(epoch, 'job-1'), { kind: 'miss' }, 'known absence gives way')
  })

  t.test('epochs and jobs are apart', async t => {
    const { cache } = await open(t)
    await filled(cache, entryAt(7))
    t.same(await cache.get('e2', 'job-1'), { kind: 'miss' })
    t.same(await cache.get(epoch, 'job-2'), { kind: 'miss' })
  })
}
