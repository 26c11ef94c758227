import { Redis, type RedisOptions } from 'ioredis'
import { decodeEntry, encodeEntry } from './entry-codec.ts'
import { type Entry, type Lookup, type StatusCache, timeToLiveMs, tokenTimeToLiveMs } from './status-cache.ts'

/*
 * The protocol's atomic operations (what they promise: status-cache.ts). A value that is neither an entry nor the
 * expected token, a token of others or bytes that nobody of ours wrote, is deleted: an empty cell is always safe.
 */
const leaseScript = `
local cell = redis.call('GET', KEYS[1])
if cell then return cell end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return ARGV[1]`

const exposeScript = `
local cell = redis.call('GET', KEYS[1])
if not cell then return 0 end
local version = tonumber(string.match(cell, '^E(%d+) '))
if cell == ARGV[4] or (version and version < tonumber(ARGV[1])) then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  return 1
end
if not version then redis.call('DEL', KEYS[1]) end
return 0`

const outdateScript = `
local cell = redis.call('GET', KEYS[1])
if not cell then return 0 end
local version = tonumber(string.match(cell, '^E(%d+) '))
if version and version >= tonumber(ARGV[1]) then return 0 end
return redis.call('DEL', KEYS[1])`

const commandTimeoutMs = 100

/**
 * Settings under which a command either answers soon or fails for good: none waits for a connection, and none is
 * sent again after a lost reply, for it may have run.
 */
export const redisOptions = {
  lazyConnect: true,
  enableOfflineQueue: false,
  maxRetriesPerRequest: 0,
  autoResendUnfulfilledCommands: false,
  commandTimeout: commandTimeoutMs,
  socketTimeout: 500,
  connectTimeout: 1000,
  enableAutoPipelining: false,
  retryStrategy: (times: number) => Math.min(50 * 2 ** Math.min(times, 5), 1000),
  reconnectOnError: (error: Error) => /^(READONLY|MASTERDOWN|LOADING)/.test(error.message)
} satisfies RedisOptions

type Client = Redis & {
  leaseCell: (key: string, token: string, ttlMs: number) => Promise<string>
  exposeCell: (key: string, version: number, entry: string, ttlMs: number, token: string) => Promise<number>
  outdateCell: (key: string, version: number) => Promise<number>
}

/** The Redis cache, with what its user must watch to know when its cells can no longer be trusted. */
export type RedisCache = StatusCache & {
  /** Which Redis this is; rejects unless it is a writable master that answers. */
  identify: () => Promise<string>
  /** Calls back whenever the connection is lost. */
  onDisconnect: (listener: (reason: string) => void) => void
}

export type RedisCacheNeeds = {
  url: string
  /** Keeps the cells of one database apart from those of others, and of its own former life. */
  incarnation: string
  /** In [0, 1). */
  random: () => number
  onError: (error: Error) => void
}

const field = (info: string, name: string): string =>
  new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1] ?? ''

const connect = (url: string): Client => {
  const location = url.startsWith('unix:') ? url.slice('unix:'.length).replace(/^\/\//, '') : url
  const client = new Redis(location, redisOptions)
  client.defineCommand('leaseCell', { numberOfKeys: 1, lua: leaseScript })
  client.defineCommand('exposeCell', { numberOfKeys: 1, lua: exposeScript })
  client.defineCommand('outdateCell', { numberOfKeys: 1, lua: outdateScript })
  return client as Client
}

const toLookup = (cell: string | null, jobId: string): Lookup => {
  const entry = cell === null ? undefined : decodeEntry(cell, jobId)
  return entry === undefined ? { kind: 'miss' } : { kind: 'hit', entry }
}

/** A cache on one Redis. Connects in the background; until then, and whenever Redis is away, its operations reject. */
export const createRedisCache = ({ url, incarnation, random, onError }: RedisCacheNeeds): RedisCache => {
  const client = connect(url)
  let connectionError: Error | null = null
  client.on('ready', () => { connectionError = null })
  client.on('error', error => {
    connectionError = error
    onError(error)
  })
  const firstAttempt = client.connect().catch(onError)
  // No braces: they would put a whole epoch into one cluster slot.
  const keyOf = (epoch: string, jobId: string) => `js:${incarnation}:${epoch}:${jobId}`
  const exposeCell = (epoch: string, entry: Entry, token: string | null) => {
    const ttlMs = timeToLiveMs(entry.state, random())
    return client.exposeCell(keyOf(epoch, entry.jobId), entry.version, encodeEntry(entry), ttlMs, token === null ? '' : `T${token}`)
  }
  return {
    get: async (epoch, jobId) => toLookup(await client.get(keyOf(epoch, jobId)), jobId),
    // All are written before the first is answered. No MGET: in a cluster it would need them all in one slot.
    getMany: async (epoch, jobIds) =>
      await Promise.all(jobIds.map(async jobId => toLookup(await client.get(keyOf(epoch, jobId)), jobId))),
    lease: async (epoch, jobId, token) => {
      const cell = await client.leaseCell(keyOf(epoch, jobId), `T${token}`, tokenTimeToLiveMs)
      if (cell.startsWith('T')) return { kind: 'token', token: cell.slice(1) }
      const entry = decodeEntry(cell, jobId)
      if (entry !== undefined) return { kind: 'hit', entry }
      // Nothing of ours, with no end of its own: an empty cell is always safe, and the next reader fills it.
      await client.del(keyOf(epoch, jobId))
      return { kind: 'token', token: '' }
    },
    expose: async (epoch, entry, token) => { await exposeCell(epoch, entry, token) },
    exposeMany: async (epoch, entries) => { await Promise.all(entries.map(entry => exposeCell(epoch, entry, null))) },
    outdate: async (epoch, jobId, version) => { await client.outdateCell(keyOf(epoch, jobId), version) },
    identify: async () => {
      await firstAttempt
      if (client.status !== 'ready') throw connectionError ?? new Error('Redis is not connected')
      const info = await client.info()
      if (field(info, 'role') !== 'master') throw new Error('Redis is not a master')
      // A server that answers but cannot store (read-only, out of memory) is no cache either.
      await client.set(`js:${incarnation}:probe`, '1', 'PX', 1000)
      return field(info, 'run_id')
    },
    onDisconnect: listener => {
      client.on('close', () => { listener('connection lost') })
    },
    close: async () => {
      client.removeAllListeners('close')
      await client.quit().catch(() => { client.disconnect() })
    }
  }
}
