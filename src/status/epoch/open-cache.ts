import { createMemoryCache } from '../../cache/memory-cache.ts'
import type { RedisCache, RedisCacheNeeds } from '../../cache/redis-cache.ts'
import type { StatusCache } from '../../cache/status-cache.ts'
import type { RedisTarget } from '../../config/redis-url.ts'
import type { Schedule } from '../../schedule.ts'
import type { EpochRowStore } from '../../store/store.ts'
import { createFixedEpoch, type Epoch, type EpochStatus } from './epoch.ts'
import { createRefresh } from './refresh.ts'
import { createSharedEpoch, type SharedEpoch } from './shared-epoch.ts'

/** A cache together with the epoch that says which of its cells are valid. */
export type OpenedCache = {
  kind: 'memory' | RedisTarget['kind']
  cache: StatusCache
  epoch: Epoch
  status: () => EpochStatus
  /** Whether the cache server answers this process. */
  isServerKnown: () => boolean
  /**
   * Resolves once it is known whether the cache can be used. From then on the cache is watched until `stop`. Resolves
   * false if another process works on this database, and the two can never share a cache.
   */
  start: () => Promise<boolean>
  stop: () => Promise<void>
}

/** What processes that share a cache need to agree on its epoch; see SharedEpochNeeds. */
export type EpochCoordination = {
  node: string
  rows: EpochRowStore
  staleNodes: readonly string[]
  /** Whether no other process can have this database open as long as this one has. */
  isAlone: boolean
}

export type OpenCacheNeeds = {
  createRedisCache: (needs: RedisCacheNeeds) => RedisCache | Promise<RedisCache>
  /** Keeps the cells of one database apart from those of others. */
  incarnation: string
  /** Version of the bodies in the entries. */
  representation: number
  randomId: () => string
  /** ms since 1970. */
  now: () => number
  /** ms of a clock that only goes forward. */
  monotonicNow: () => number
  schedule: Schedule
  /** In [0, 1). */
  random: () => number
  onChange: (status: EpochStatus) => void
  onError: (error: Error) => void
}

/** The cache of a process that is alone on its database. */
const openMemoryCache = ({ randomId, random, now, monotonicNow, onChange }: OpenCacheNeeds): OpenedCache => {
  const status: EpochStatus = { mode: 'on', since: now(), reason: null }
  const cache = createMemoryCache({ now: monotonicNow, random })
  return {
    kind: 'memory',
    cache,
    epoch: createFixedEpoch(randomId),
    status: () => status,
    isServerKnown: () => true,
    start: () => {
      onChange(status)
      return Promise.resolve(true)
    },
    stop: cache.close
  }
}

type OpenedEpoch = Omit<OpenedCache, 'kind' | 'cache'> & Pick<SharedEpoch, 'disconnect'>

const openSharedEpoch = (
  coordination: EpochCoordination, { randomId, now, monotonicNow, schedule, onChange }: OpenCacheNeeds,
  cache: { identify: () => Promise<string>, close: () => Promise<void> },
  isRival: (other: { runId: string | null }) => boolean
): OpenedEpoch => {
  const epoch = createSharedEpoch({
    ...coordination,
    createRefresh,
    identify: cache.identify,
    randomId,
    now,
    monotonicNow,
    schedule,
    onChange
  })
  return {
    epoch,
    status: epoch.status,
    isServerKnown: epoch.isServerKnown,
    disconnect: epoch.disconnect,
    start: async () => {
      await epoch.start()
      return !epoch.others().some(isRival)
    },
    stop: async () => {
      await epoch.stop()
      await cache.close()
    }
  }
}

const memoryServer = 'memory:'

/**
 * The cache of a process on a database that others can open. Its memory is a cache server that no other process can
 * use, so that as long as another process is there, neither answers from its cache.
 */
const openLonelyCache = (coordination: EpochCoordination, needs: OpenCacheNeeds): OpenedCache => {
  const { random, monotonicNow } = needs
  const cache = createMemoryCache({ now: monotonicNow, random })
  const server = { identify: () => Promise.resolve(memoryServer + coordination.node), close: cache.close }
  return { kind: 'memory', cache, ...openSharedEpoch(coordination, needs, server, () => true) }
}

const openRedisCache = async (
  target: RedisTarget, coordination: EpochCoordination, needs: OpenCacheNeeds
): Promise<OpenedCache> => {
  const { createRedisCache, incarnation, representation, random, onError } = needs
  const cache = await createRedisCache({ target, incarnation, representation, random, onError })
  const isInMemory = ({ runId }: { runId: string | null }) => runId?.startsWith(memoryServer) ?? false
  const { disconnect, ...opened } = openSharedEpoch(coordination, needs, cache, isInMemory)
  cache.onDisconnect(disconnect)
  return { kind: target.kind, cache, ...opened }
}

/** The cache in Redis where one is configured, else in the memory of this process. */
export const openCache = async (
  target: RedisTarget | null, coordination: EpochCoordination, needs: OpenCacheNeeds
): Promise<OpenedCache> => {
  if (target !== null) return await openRedisCache(target, coordination, needs)
  return coordination.isAlone ? openMemoryCache(needs) : openLonelyCache(coordination, needs)
}
