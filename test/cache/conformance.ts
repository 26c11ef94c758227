import type { Test } from 'tap'
import type { StatusEntry } from '../../src/job/status-entry.ts'
import type { StatusCache } from '../../src/cache/status-cache.ts'

/** An entry of one job at one version, the newer the higher. */
export const entryAt = (version: number, more: Partial<StatusEntry> = {}): StatusEntry => {
  const jobId = more.jobId ?? 'job-1'
  return {
    jobId,
    version,
    tenant: 'acme',
    state: 'running',
    percent: 40,
    pollAfterMs: 1000,
    expiredAt: 0,
    hasResult: true,
    canCancel: true,
    v1Body: `{"jobId":"${jobId}","v":${version}}`,
    taskBody: `{"success":true,"data":{"v":${version}}}`,
    ...more
  }
}

export const absent: StatusEntry = entryAt(0, {
  state: 'absent',
  tenant: null,
  percent: 0,
  pollAfterMs: 0,
  hasResult: false,
  canCancel: false,
  v1Body: '',
  taskBody: ''
})

/** A cache under test; `evict` empties a cell as memory pressure would. */
export type CacheUnderTest = { cache: StatusCache, evict: (epoch: string, jobId: string) => Promise<void> }

/** What every cache promises (src/cache/status-cache.ts). `open` makes an empty one for each test. */
export const cacheConformance = (t: Test, open: (t: Test) => Promise<CacheUnderTest>): void => {
  const epoch = 'e1'

  const filled = async (cache: StatusCache, entry: StatusEntry) => {
    const lease = await cache.lease(epoch, entry.jobId, 'filler')
    if (lease.kind === 'token') await cache.expose(epoch, entry, lease.token)
  }

  t.test('an empty cell is a miss, and takes the token offered', async t => {
    const { cache } = await open(t)
    t.same(await cache.get(epoch, 'job-1'), { kind: 'miss' })
    t.same(await cache.lease(epoch, 'job-1', 'a'), { kind: 'token', token: 'a' })
    t.same(await cache.get(epoch, 'job-1'), { kind: 'miss' }, 'a token is no hit')
  })

  t.test('a token is shared: a later reader gets the first one', async t => {
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

  t.test('an exposure invalidates a fill under way', async t => {
    const { cache } = await open(t)
    await cache.lease(epoch, 'job-1', 'a')
    await cache.expose(epoch, entryAt(8), null)
    await cache.expose(epoch, entryAt(7), 'a')
    t.same(await cache.get(epoch, 'job-1'), { kind: 'miss' }, 'the late fill, older than what was exposed, is dropped')
  })

  t.test('an exposure with the token of another fill invalidates the one under way', async t => {
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

  t.test('a late fill after an eviction fills nothing, unlike with set-if-newer', async t => {
    const { cache, evict } = await open(t)
    const slow = await cache.lease(epoch, 'job-1', 'slow')
    await cache.expose(epoch, entryAt(2), null)
    await filled(cache, entryAt(2))
    await evict(epoch, 'job-1')
    await cache.expose(epoch, entryAt(1), slow.kind === 'token' ? slow.token : null)
    t.same(await cache.get(epoch, 'job-1'), { kind: 'miss' }, 'version 1 was read before version 2 was shown')
  })

  t.test('invalidating empties a cell that may hold something older, and no other', async t => {
    const { cache } = await open(t)
    await cache.invalidate(epoch, 'job-1', 7)
    t.same(await cache.get(epoch, 'job-1'), { kind: 'miss' }, 'an empty cell stays empty')
    await filled(cache, entryAt(7))
    await cache.invalidate(epoch, 'job-1', 7)
    t.match(await cache.get(epoch, 'job-1'), { entry: { version: 7 } }, 'as new as that: kept')
    await cache.invalidate(epoch, 'job-1', 10)
    t.same(await cache.get(epoch, 'job-1'), { kind: 'miss' }, 'older: gone')
    const lease = await cache.lease(epoch, 'job-1', 'a')
    await cache.invalidate(epoch, 'job-1', 11)
    await cache.expose(epoch, entryAt(10), lease.kind === 'token' ? lease.token : null)
    t.same(await cache.get(epoch, 'job-1'), { kind: 'miss' }, 'a fill that began before is killed')
    await filled(cache, absent)
    await cache.invalidate(epoch, 'job-1', 1)
    t.same(await cache.get(epoch, 'job-1'), { kind: 'miss' }, 'known absence gives way')
  })

  t.test('many cells are read in one command, in the order of the ids', async t => {
    const { cache } = await open(t)
    const miss = { kind: 'miss' }
    t.same(await cache.getMany(epoch, []), [])
    t.same(await cache.getMany(epoch, ['job-1', 'job-2']), [miss, miss])
    const entry = entryAt(3, { jobId: 'job-2' })
    await filled(cache, entry)
    const hit = { kind: 'hit', entry }
    t.same(await cache.getMany(epoch, ['job-1', 'job-2', 'job-3', 'job-2']), [miss, hit, miss, hit])
    t.same(await cache.getMany('e2', ['job-2']), [miss], 'of this epoch')
    await cache.lease(epoch, 'job-1', 'a')
    t.equal((await cache.getMany(epoch, ['job-1']))[0]?.kind, 'miss', 'a token is no hit')
  })

  t.test('many entries are exposed as each would be by itself', async t => {
    for (const before of ['empty', 'token', 'older', 'same', 'newer', 'absent'] as const) {
      await t.test(before, async t => {
        const one = await open(t)
        const many = await open(t)
        for (const { cache } of [one, many]) {
          if (before === 'token') await cache.lease(epoch, 'job-1', 'filler')
          if (before === 'absent') await filled(cache, absent)
          if (before === 'older') await filled(cache, entryAt(6))
          if (before === 'same') await filled(cache, entryAt(7, { percent: 1 }))
          if (before === 'newer') await filled(cache, entryAt(8))
        }
        await one.cache.expose(epoch, entryAt(7), null)
        await many.cache.exposeMany(epoch, [entryAt(7)])
        const found = await many.cache.get(epoch, 'job-1')
        t.same(found, await one.cache.get(epoch, 'job-1'))
        t.match(found, {
          empty: { kind: 'miss' },
          token: { kind: 'miss' },
          older: { entry: { version: 7 } },
          same: {
            entry: { percent: 1 }
          },
          newer: { entry: { version: 8 } },
          absent: { entry: { version: 7 } }
        }[before])
        t.same(await many.cache.lease(
          epoch, 'job-1', 'next'
        ), await one.cache.lease(epoch, 'job-1', 'next'), 'and a fill under way is as dead')
      })
    }
  })

  t.test('of several entries of one job the newest stays; an empty list exposes nothing', async t => {
    const { cache } = await open(t)
    await cache.exposeMany(epoch, [])
    await filled(cache, entryAt(1))
    await filled(cache, entryAt(2, { jobId: 'job-3' }))
    await cache.exposeMany(epoch, [
      entryAt(3), entryAt(2), entryAt(9, { jobId: 'job-2' }), entryAt(4, { jobId: 'job-3' })
    ])
    t.match(await cache.get(epoch, 'job-1'), { entry: { version: 3 } })
    t.match(await cache.get(epoch, 'job-3'), { entry: { version: 4 } })
    t.same(await cache.get(epoch, 'job-2'), { kind: 'miss' }, 'and no other cell is filled')
  })

  t.test('every fact of an entry comes back', async t => {
    const { cache } = await open(t)
    const facts: Array<Partial<StatusEntry>> = [
      { hasResult: false }, { canCancel: false }, { hasResult: false, canCancel: false }, { tenant: null },
      { tenant: '' },
      { state: 'cancelled', pollAfterMs: 0, percent: 100 },
      { state: 'expired', expiredAt: 8_640_000_000_000_000, v1Body: '', taskBody: '' }, { state: 'invalid' }
    ]
    for (const [number, more] of facts.entries()) {
      const entry = entryAt(number + 1, { ...more, jobId: `job-${number}` })
      await filled(cache, entry)
      t.same(await cache.get(epoch, entry.jobId), { kind: 'hit', entry })
      t.same(await cache.getMany(epoch, [entry.jobId]), [{ kind: 'hit', entry }])
    }
  })

  t.test('cells of different epochs and jobs do not affect each other', async t => {
    const { cache } = await open(t)
    await filled(cache, entryAt(7))
    t.same(await cache.get('e2', 'job-1'), { kind: 'miss' })
    t.same(await cache.get(epoch, 'job-2'), { kind: 'miss' })
  })
}
