import type { StatusCache } from '../../../src/cache/status-cache.ts'
import type { StatusEntry } from '../../../src/job/status-entry.ts'
import type { IsAwaited, JobWatch } from '../../../src/status/await-change.ts'
import { createRefresh } from '../../../src/status/epoch/refresh.ts'
import { joinRunning } from '../join-running.ts'
import { type Mutant, placements } from './mutant.ts'

/*
 * The code with one rule broken at a time, in ways that look harmless.
 */

const forced = 'forced'

/** Puts the entry into the cell, unless a newer one is there. */
const setIfNewer = async (cache: StatusCache, ...[epoch, entry]: Parameters<StatusCache['expose']>) => {
  const leased = await cache.lease(epoch, entry.jobId, forced)
  await cache.expose(epoch, entry, leased.kind === 'token' ? leased.token : null)
}

const firstAwaited = async (
  watch: JobWatch, jobId: string, isAwaited: IsAwaited, ended: Promise<unknown>
): Promise<StatusEntry | null> => {
  const { promise: awaited, resolve } = Promise.withResolvers<StatusEntry>()
  const unsubscribe = watch.subscribe([jobId], entry => { if (isAwaited(entry)) resolve(entry) })
  return await Promise.race([awaited, ended.then(() => null)]).finally(unsubscribe)
}

const everywhere = placements

export const mutants = {
  'set-if-newer in place of expose': {
    placements: everywhere,
    cache: cache => ({ ...cache, expose: (...args) => setIfNewer(cache, ...args) })
  },
  'a fill that ignores the token': {
    placements: everywhere,
    cache: cache => ({
      ...cache,
      expose: async (
        epoch, entry, token
      ) => await (token === null ? cache.expose(epoch, entry, null) : setIfNewer(cache, epoch, entry, token))
    })
  },
  'exposing leaves tokens alone': {
    placements: everywhere,
    cache: cache => ({
      ...cache,
      expose: async (epoch, entry, token) => {
        if (token !== null || (await cache.get(epoch, entry.jobId)).kind === 'hit') {
          await cache.expose(epoch, entry, token)
        }
      }
    })
  },
  'invalidating leaves tokens alone': {
    placements: everywhere,
    cache: cache => ({
      ...cache,
      invalidate: async (epoch, jobId, version) => {
        const isEntry = (await cache.get(epoch, jobId)).kind === 'hit'
        return isEntry && await cache.invalidate(epoch, jobId, version)
      }
    })
  },
  // In scripts in which nothing else invalidates.
  'a read that bypasses its cell leaves it as it is': {
    placements: everywhere,
    scripts: 'bypassing',
    cache: cache => ({ ...cache, invalidate: () => Promise.resolve(false) })
  },
  'a read that runs is joined': {
    placements: everywhere,
    readStatus: readStatus => {
      const joined = joinRunning(async jobId => await readStatus(jobId, 0))
      return async (jobId, floor) => {
        const entry = await joined(jobId)
        return entry.version >= floor ? entry : await readStatus(jobId, floor)
      }
    }
  },
  'floors are ignored': {
    placements: everywhere,
    readStatus: readStatus => jobId => readStatus(jobId, 0)
  },
  'a failed command trips nothing, and counts as done': {
    placements: everywhere,
    epoch: epoch => {
      let failures = 0
      return {
        view: () => failures > 0 && failures-- > 0 ? { ...epoch.view(), mode: 'off' } : epoch.view(),
        trip: () => { failures++ },
        awaitOldLeases: () => Promise.resolve(true)
      }
    }
  },
  'the epoch stays after a lost reply': {
    placements: ['memory'],
    epochId: () => 'always'
  },
  'a lost connection trips nothing': {
    placements: ['memory'],
    isDeafToDisconnects: true
  },
  'no wait for processes that act on the old epoch': {
    placements: ['shared'],
    epoch: epoch => ({ ...epoch, awaitOldLeases: () => Promise.resolve(epoch.view().mode === 'off') })
  },
  'from off to on without warm': {
    placements: ['shared'],
    rows: rows => ({ ...rows, advance: (seen, _mode, runId) => rows.advance(seen, 'on', runId) })
  },
  'who waits reads before it subscribes': {
    placements: everywhere,
    scripts: 'waiting',
    watch: (watch, readStatus) => ({
      ...watch,
      awaitEntry: async (jobId, floor, isAwaited, ended) => {
        const entry = await readStatus(jobId, floor)
        return isAwaited(entry) ? entry : await firstAwaited(watch, jobId, isAwaited, ended)
      }
    })
  },
  'who waits takes what is exposed during its read': {
    placements: everywhere,
    scripts: 'waiting',
    watch: (watch, readStatus) => ({
      ...watch,
      awaitEntry: async (jobId, floor, isAwaited, ended) => {
        const awaited = firstAwaited(watch, jobId, isAwaited, ended)
        const entry = await readStatus(jobId, floor)
        if (isAwaited(entry)) return entry
        watch.onExposed(entry)
        return await awaited
      }
    })
  },
  'an exposure wakes before it takes effect': {
    placements: everywhere,
    scripts: 'waiting',
    onExposing: (watch, entry) => { watch.onExposed(entry) }
  },
  'a stream reads before it subscribes': {
    placements: everywhere,
    scripts: 'following',
    watch: (watch, readStatus) => ({
      ...watch,
      follow: async (jobId, floor, onEntry) => {
        const entry = await readStatus(jobId, floor)
        await Promise.resolve()
        return { entry, unfollow: watch.subscribe([jobId], onEntry) }
      }
    })
  },
  'a stream gets what was exposed during its read after what it has read': {
    placements: everywhere,
    scripts: 'following',
    watch: (watch, readStatus) => ({
      ...watch,
      follow: async (jobId, floor, onEntry) => {
        const held: StatusEntry[] = []
        let take: (entry: StatusEntry) => void = entry => { held.push(entry) }
        const unfollow = watch.subscribe([jobId], entry => { take(entry) })
        const entry = await readStatus(jobId, floor)
        take = onEntry
        queueMicrotask(() => { for (const each of held) onEntry(each) })
        return { entry, unfollow }
      }
    })
  },
  'a stream is not woken by the relay': {
    placements: everywhere,
    scripts: 'following',
    relay: needs => ({ ...needs, onChanges: () => {} })
  },
  'the relay wakes before it invalidates': {
    placements: everywhere,
    scripts: 'waiting',
    relay: (needs, watch) => ({
      ...needs,
      invalidate: async (jobId, version) => {
        watch.onChanges([{ jobId, version }])
        await needs.invalidate(jobId, version)
      },
      onChanges: () => {}
    })
  },
  'a lease that runs from the answer to its refresh': {
    placements: ['shared'],
    scripts: 'slow',
    createRefresh: needs => createRefresh({
      ...needs, onRows: (rows, { answeredAt }) => { needs.onRows(rows, { beganAt: answeredAt, answeredAt }) }
    })
  }
} as const satisfies Record<string, Mutant>
