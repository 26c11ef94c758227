import { randomUUID } from 'node:crypto'
import { Redis, type RedisOptions } from 'ioredis'
import { LRUCache } from 'lru-cache'
import type { StatusEntry } from '../job/status-entry.ts'
import { createCoalescer } from './coalesce.ts'
import { decodeEntry, encodeEntry } from './entry-codec.ts'
import { CacheUnusable, type Lookup, type StatusCache, timeToLiveMs, tokenTimeToLiveMs } from './status-cache.ts'

/*
 * The atomic operations of the protocol, each for any number of cells; status-cache.ts says what they promise. A value
 * that is neither an entry nor the expected token (the token of another reader, or bytes of another program) is
 * deleted: an empty cell is always safe. In a Redis cluster each cell would need a command of its own; this client does
 * not support clusters.
 */
const leaseScript = `
local cells = {}
for i, key in ipairs(KEYS) do
  local cell = redis.call('GET', key)
  if not cell then
    cell = ARGV[i + 1]
    redis.call('SET', key, cell, 'PX', ARGV[1])
  end
  cells[i] = cell
end
return cells`

const exposeScript = `
local done = {}
for i, key in ipairs(KEYS) do
  local version, entry, ttl, token = unpack(ARGV, i * 4 - 3, i * 4)
  local cell = redis.call('GET', key)
  if cell then
    local found = tonumber(string.match(cell, '^E(%d+) '))
    if cell == token or (found and found < tonumber(version)) then
      redis.call('SET', key, entry, 'PX', ttl)
    elseif not found then
      redis.call('DEL', key)
    end
  end
  done[i] = 1
end
return done`

const invalidateScript = `
local done = {}
for i, key in ipairs(KEYS) do
  local cell = redis.call('GET', key)
  local version = cell and tonumber(string.match(cell, '^E(%d+) '))
  if cell and not (version and version >= tonumber(ARGV[i])) then redis.call('DEL', key) end
  done[i] = 1
end
return done`

const scripts = { lease: leaseScript, expose: exposeScript, invalidate: invalidateScript }

const defaultReplyMsMax = 100

/**
 * Settings under which a command either answers soon or fails for good: none waits for a connection, and none is sent
 * again after a lost reply, because it may have run.
 */
export const redisOptions = {
  lazyConnect: true,
  enableOfflineQueue: false,
  maxRetriesPerRequest: 0,
  autoResendUnfulfilledCommands: false,
  socketTimeout: 1000,
  connectTimeout: 1000,
  enableAutoPipelining: false,
  retryStrategy: (times: number) => Math.min(50 * 2 ** Math.min(times, 5), 1000),
  reconnectOnError: (error: Error) => /^(READONLY|MASTERDOWN|LOADING)/.test(error.message)
} satisfies RedisOptions

type Client = Redis & {
  leaseCells: (count: number, ...keysAndArguments: (string | number)[]) => Promise<string[]>
  exposeCells: (count: number, ...keysAndArguments: (string | number)[]) => Promise<number[]>
  invalidateCells: (count: number, ...keysAndVersions: (string | number)[]) => Promise<number[]>
}

/** The Redis cache, and what its user must watch to know when its cells are no longer valid. */
export type RedisCache = StatusCache & {
  /**
   * The id of this run of the server; rejects unless it is a master that runs each of our commands. Throws
   * CacheUnusable if only its operator can change that.
   */
  identify: () => Promise<string>
  /** Calls back whenever the connection is lost. */
  onDisconnect: (listener: (reason: string) => void) => void
}

export type RedisCacheNeeds = {
  url: string
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
  scripts?: Partial<typeof scripts>
}

/**
 * Rejects if a reply takes longer than `replyMsMax`. A reply that has arrived, but was not read yet because this
 * process was busy or had no core, is no reason to leave the cache: the event loop gets a turn to read it.
 */
const createTimeout = (
  replyMsMax: number
) => <Reply>(reply: Promise<Reply>): Promise<Reply> => new Promise((resolve, reject) => {
  const giveUp = () => { reject(new Error('the reply of Redis timed out')) }
  const timer = setTimeout(() => { setImmediate(() => { setImmediate(giveUp) }) }, replyMsMax)
  reply.finally(() => { clearTimeout(timer) }).then(resolve, reject)
})

const field = (info: string, name: string): string =>
  new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1] ?? ''

const connect = (url: string, { lease, expose, invalidate }: typeof scripts): Client => {
  const location = url.startsWith('unix:') ? url.slice('unix:'.length).replace(/^\/\//, '') : url
  const client = new Redis(location, redisOptions)
  client.defineCommand('leaseCells', { lua: lease })
  client.defineCommand('exposeCells', { lua: expose })
  client.defineCommand('invalidateCells', { lua: invalidate })
  return client as Client
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

type WithTimeout = ReturnType<typeof createTimeout>

/** The scripts as commands for one cell; those of the same turn of the event loop share one round trip. */
const createCellCommands = (
  client: Client, withTimeout: WithTimeout, { representation, random }: Pick<RedisCacheNeeds, 'representation' | 'random'>
) => {
  const toArguments = ({ entry, token }: { entry: StatusEntry, token: string | null }) =>
    [entry.version, encodeEntry(entry, representation), timeToLiveMs(entry.state, random()), token === null ? '' : `T${token}`]
  const keysOf = (cells: { key: string }[]) => cells.map(({ key }) => key)
  return {
    leaseCell: createCoalescer((cells: { key: string, token: string }[]) => withTimeout(client.leaseCells(
      cells.length, ...keysOf(cells), tokenTimeToLiveMs, ...cells.map(({ token }) => `T${token}`)
    ))),
    exposeCell: createCoalescer((cells: { key: string, entry: StatusEntry, token: string | null }[]) =>
      withTimeout(client.exposeCells(cells.length, ...keysOf(cells), ...cells.flatMap(toArguments)))),
    invalidateCell: createCoalescer((cells: { key: string, version: number }[]) =>
      withTimeout(client.invalidateCells(cells.length, ...keysOf(cells), ...cells.map(({ version }) => version))))
  }
}

// Replies that stay the same until someone changes the configuration of Redis or of this service.
const operatorErrors = /^(?!ERR max number of clients)(NOPERM|NOAUTH|WRONGPASS|DENIED|ERR)\b/

const toUnusable = (error: unknown): unknown =>
  error instanceof Error && operatorErrors.test(error.message)
    ? new CacheUnusable(error.message, { cause: error })
    : error

type IdentifyNeeds = { client: Client, withTimeout: WithTimeout, incarnation: string, reasonAway: () => Error }

const createIdentify = ({ client, withTimeout, incarnation, reasonAway }: IdentifyNeeds): RedisCache['identify'] => {
  // Processes probe at the same time.
  const key = `js:${incarnation}:probe:${randomUUID()}`

  // A server that answers but cannot store, or may not run a command or a script, is no cache.
  const runEachCommand = async (): Promise<void> => {
    await Promise.all([
      client.leaseCells(1, key, 1000, 'Tprobe'), client.exposeCells(1, key, 1, 'E1 probe', 1000, 'Tprobe'),
      client.mget(key), client.invalidateCells(1, key, 2), client.del(key)
    ].map(reply => withTimeout<unknown>(reply)))
  }

  const identify = async (): Promise<string> => {
    if (client.status !== 'ready') throw reasonAway()
    const info = await withTimeout(client.info())
    if (field(info, 'redis_mode') === 'cluster') {
      throw new CacheUnusable('it runs in cluster mode, which is not supported')
    }
    if (field(info, 'role') !== 'master') throw new CacheUnusable('it is not a master')
    // The client goes on in database 0 if there is no such database.
    const { db = 0 } = client.options
    if (db !== 0) await withTimeout(client.select(db))
    await runEachCommand()
    return field(info, 'run_id')
  }
  return () => identify().catch((error: unknown) => { throw toUnusable(error) })
}

/**
 * A cache on one Redis. It connects in the background; until then, and whenever Redis is away, its operations reject.
 */
export const createRedisCache = (needs: RedisCacheNeeds): RedisCache => {
  const { url, incarnation, representation, random, onError, replyMsMax = defaultReplyMsMax } = needs
  const withTimeout = createTimeout(replyMsMax)
  const client = connect(url, { ...scripts, ...needs.scripts })
  let connectionError: Error | null = null
  client.on('ready', () => { connectionError = null })
  client.on('error', error => {
    connectionError = error
    onError(error)
  })
  const reasonAway = () => connectionError ?? new Error('Redis is not connected')
  const identify = createIdentify({ client, withTimeout, incarnation, reasonAway })
  const firstAttempt = client.connect().catch(onError)
  // No braces: they would put a whole epoch into one cluster slot.
  const keyOf = (epoch: string, jobId: string) => `js:${incarnation}:${epoch}:${jobId}`
  const decode = createDecoder(representation)
  const readCell = createCoalescer((keys: string[]) => withTimeout(client.mget(keys)))
  const get = (epoch: string, jobId: string): Promise<Lookup> =>
    readCell(keyOf(epoch, jobId)).then(cell => decode(cell, jobId))
  const { leaseCell, exposeCell, invalidateCell } = createCellCommands(client, withTimeout, { representation, random })
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
      const entry = decodeEntry(cell, jobId, representation)
      if (entry !== undefined) return { kind: 'hit', entry }
      // Bytes of another program, perhaps without expiry: an empty cell is always safe, and the next reader fills it.
      await withTimeout(client.del(key))
      return { kind: 'token', token: '' }
    },
    expose,
    exposeMany: async (epoch, entries) => { await Promise.all(entries.map(entry => expose(epoch, entry, null))) },
    invalidate: async (epoch, jobId, version) => { await invalidateCell({ key: keyOf(epoch, jobId), version }) },
    identify: async () => {
      await firstAttempt
      return await identify()
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
