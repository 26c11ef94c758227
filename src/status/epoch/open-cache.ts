import { createMemoryCache } from '../../cache/memory-cache.ts'
import type { RedisCache, RedisCacheNeeds } from '../../cache/redis-cache.ts'
import type { StatusCache } from '../../cache/status-cache.ts'
import type { EpochRowStore } from '../../store/store.ts'
import { createFixedEpoch, type Epoch, type EpochStatus } from './epoch.ts'
import { createRefresh } from './refresh.ts'
import { createSharedEpoch } from './shared-epoch.ts'

/** A cache together with the epoch that says which of its cells are valid. */
export type OpenedCache = {
  kind: 'memory' | 'redis'
  cache: StatusCache
  epoch: Epoch
  status: () => EpochStatus
  /** Resolves once it is known whether the cache can be used. From then on the cache is watched until `stop`. */
  start: () => Promise<void>
  stop: () => Promise<void>
}

/** What processes that share a cache need to agree on its epoch; see SharedEpochNeeds. */
export type EpochCoordination = {
  node: string
  rows: EpochRowStore
  staleNodes: readonly string[]
}

export type OpenCacheNeeds = {
  createRedisCache: (needs: RedisCacheNeeds) => RedisCache
  /** Keeps the cells of one database apart from those of others. */
  incarnation: string
  /** Version of the bodies in the entries. */
  representation: number
  randomId: () => string
  /** ms since 1970. */
  now: () => number
  /** ms of a clock that only goes forward. */
  monotonicNow: () => number
  /** In [0, 1). */
  random: () => number
  onChange: (status: EpochStatus) => void
  onError: (error: Error) => void
}

const openMemoryCache = ({ randomId, random, now, monotonicNow, onChange }: OpenCacheNeeds): OpenedCache => {
  const status: EpochStatus = { mode: 'on', since: now(), reason: null }
  const cache = createMemoryCache({ now: monotonicNow, random })
  return {
    kind: 'memory',
    cache,
    epoch: createFixedEpoch(randomId),
    status: () => status,
    start: () => {
      onChange(status)
      return Promise.resolve()
    },
    stop: cache.close
  }
}

const openRedisCache = (url: string, coordination: EpochCoordination, needs: OpenCacheNeeds): OpenedCache => {
  const { createRedisCache, incarnation, representation, randomId, random, now, monotonicNow, onChange, onError } =
    needs
  const cache = createRedisCache({ url, incarnation, representation, random, onError })
  const epoch = createSharedEpoch({
    ...coordination,
    createRefresh,
    identify: cache.identify,
    randomId,
    now,
    monotonicNow,
    schedule: (work, ms) => {
      const timer = setTimeout(work, ms).unref()
      return { cancel: () => { clearTimeout(timer) } }
    },
    onChange
  })
  cache.onDisconnect(epoch.disconnect)
  return {
    kind: 'redis',
    cache,
    epoch,
    status: epoch.status,
    start: epoch.start,
    stop: async () => {
      await epoch.stop()
      await cache.close()
    }
  }
}

/** The cache in Redis where there is a URL for it, else in the memory of this process. */
export const openCache = (
  redisUrl: string | null, coordination: EpochCoordination, needs: OpenCacheNeeds
): OpenedCache =>
  redisUrl === null ? openMemoryCache(needs) : openRedisCache(redisUrl, coordination, needs)
