import { LRUCache } from 'lru-cache'
import type { RedisTarget } from '../config/redis-url.ts'
import type { StatusEntry } from '../job/status-entry.ts'
import { createCoalescer } from './coalesce.ts'
import { decodeEntry, encodeEntry } from './entry-codec.ts'
import { connectCluster } from './redis-cluster.ts'
import { createTimeout, type RedisConnection, type Scripts, scripts, type WithTimeout } from './redis-commands.ts'
import { connectServer } from './redis-server.ts'
import { type Lookup, type StatusCache, timeToLiveMs, tokenTimeToLiveMs } from './status-cache.ts'

const defaultReplyMsMax = 100

/** The Redis cache, and what its user must watch to know when its cells are no longer valid. */
export type RedisCache = StatusCache & Pick<RedisConnection, 'identify' | 'onDisconnect'>

export type RedisCacheNeeds = {
  target: RedisTarget
  /** Keeps the cells of one database apart from those of others, and from those before a backup was restored. */
  incarnation: string
  /** Version of the bodies in the entries; cells with another one are not used. */
  representation: number
  /** In [0, 1). */
  random: () => number
  onError: (error: Error) => void
  /** How long a command may take. */
  replyMsMax?: number
  /** Replace the real ones, in a test that breaks an operation on purpose. */
  scripts?: Partial<Scripts>
}

const decodedBytesMax = 16 * 1024 * 1024
const miss: Lookup = { kind: 'miss' }

// Equal bytes decode to equal entries, so that a poll of an unchanged cell decodes nothing.
const createDecoder = (representation: number) => {
  const decoded = new LRUCache<string, { cell: string, hit: Lookup }>({
    max: 10_000,
    maxSize: decodedBytesMax,
    sizeCalculation: ({ cell }) => 4 * cell.length
  })
  return (cell: string | null, jobId: string): Lookup => {
    if (cell === null) return miss
    const known = decoded.get(jobId)
    if (known?.cell === cell) return known.hit
    const entry = decodeEntry(cell, jobId, representation)
    if (entry === undefined) return miss
    const hit: Lookup = { kind: 'hit', entry }
    decoded.set(jobId, { cell, hit })
    return hit
  }
}

type CellCommandsNeeds = Pick<RedisCacheNeeds, 'representation' | 'random'> & { withTimeout: WithTimeout }

/** The operations on one cell; those of the same turn of the event loop travel together. */
const createCellCommands = (
  { run }: RedisConnection, { withTimeout, representation, random }: CellCommandsNeeds
) => {
  type Cell = { key: string }
  type Fill = Cell & { token: string }
  type Exposure = Cell & { entry: StatusEntry, token: string | null }
  type Invalidation = Cell & { version: number }
  const keysOf = (cells: readonly Cell[]) => cells.map(({ key }) => key)
  const toArguments = ({ entry, token }: Exposure) => [
    entry.version, encodeEntry(entry, representation), timeToLiveMs(entry.state, random()),
    token === null ? '' : `T${token}`
  ]
  return {
    readCell: createCoalescer((keys: string[]) => withTimeout(run(
      cells => ['mget', ...keysOf(cells)], keys.map(key => ({ key }))
    ) as Promise<(string | null)[]>)),
    leaseCell: createCoalescer((cells: Fill[]) => withTimeout(run(some => [
      'leaseCells', some.length, ...keysOf(some), tokenTimeToLiveMs, ...some.map(({ token }) => `T${token}`)
    ], cells) as Promise<string[]>)),
    exposeCell: createCoalescer((cells: Exposure[]) => withTimeout(run(some => [
      'exposeCells', some.length, ...keysOf(some), ...some.flatMap(toArguments)
    ], cells))),
    invalidateCell: createCoalescer((cells: Invalidation[]) => withTimeout(run(some => [
      'invalidateCells', some.length, ...keysOf(some), ...some.map(({ version }) => version)
    ], cells)))
  }
}

/** A cache in Redis: one server, the master of a group with Sentinels, or a cluster. */
export const createRedisCache = (needs: RedisCacheNeeds): RedisCache => {
  const { target, incarnation, representation, onError, replyMsMax = defaultReplyMsMax } = needs
  const withTimeout = createTimeout(replyMsMax)
  const connectionNeeds = {
    scripts: { ...scripts, ...needs.scripts }, withTimeout, probePrefix: `js:${incarnation}:probe:`, onError
  }
  const connection = target.kind === 'redis-cluster'
    ? connectCluster(target, connectionNeeds)
    : connectServer(target, connectionNeeds)
  // No braces: they would put a whole epoch into one cluster slot.
  const keyOf = (epoch: string, jobId: string) => `js:${incarnation}:${epoch}:${jobId}`
  const decode = createDecoder(representation)
  const { readCell, leaseCell, exposeCell, invalidateCell } =
    createCellCommands(connection, { ...needs, withTimeout })
  const get = (epoch: string, jobId: string): Promise<Lookup> =>
    readCell(keyOf(epoch, jobId)).then(cell => decode(cell, jobId))
  const expose = async (epoch: string, entry: StatusEntry, token: string | null) => {
    await exposeCell({ key: keyOf(epoch, entry.jobId), entry, token })
  }
  return {
    get,
    getMany: async (epoch, jobIds) => await Promise.all(jobIds.map(jobId => get(epoch, jobId))),
    lease: async (epoch, jobId, token) => {
      const key = keyOf(epoch, jobId)
      const cell = await leaseCell({ key, token })
      if (cell.startsWith('T')) return { kind: 'token', token: cell.slice(1) }
      const found = decode(cell, jobId)
      if (found.kind === 'hit') return found
      // Bytes of another program, perhaps without expiry: an empty cell is always safe, and the next reader fills it.
      await invalidateCell({ key, version: Number.MAX_VALUE })
      return { kind: 'token', token: '' }
    },
    expose,
    exposeMany: async (epoch, entries) => { await Promise.all(entries.map(entry => expose(epoch, entry, null))) },
    invalidate: async (epoch, jobId, version) => await invalidateCell({ key: keyOf(epoch, jobId), version }) === 1,
    identify: connection.identify,
    onDisconnect: connection.onDisconnect,
    close: connection.close
  }
}
