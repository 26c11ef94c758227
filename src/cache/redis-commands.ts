import type { ChainableCommander, Redis, RedisOptions } from 'ioredis'
import { CacheUnusable } from './status-cache.ts'

/*
 * What is sent to Redis, whichever server it is and however it is found. status-cache.ts says what the operations on
 * cells promise; each is one script for any number of cells. A value that is neither an entry nor the expected token
 * (the token of another reader, or bytes of another program) is deleted: an empty cell is always safe.
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
  local isKept = version and version >= tonumber(ARGV[i])
  if cell and not isKept then redis.call('DEL', key) end
  done[i] = isKept and 1 or 0
end
return done`

/** The scripts by the operation that each performs. */
export const scripts = { lease: leaseScript, expose: exposeScript, invalidate: invalidateScript }

export type Scripts = typeof scripts

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

type Argument = string | number

/** A command and its arguments. Its reply is a list, with one element for each cell. */
export type CellCommand = readonly [name: 'mget' | keyof typeof scriptOf, ...Argument[]]

const scriptOf = { leaseCells: 'lease', exposeCells: 'expose', invalidateCells: 'invalidate' } as const

export const defineScripts = (client: Redis, own: Scripts): void => {
  for (const [name, operation] of Object.entries(scriptOf)) client.defineCommand(name, { lua: own[operation] })
}

type Caller<Result> = Record<string, (...args: Argument[]) => Result>

/** Sends a command for some cells. */
export const send = (client: Redis, [name, ...args]: CellCommand): Promise<unknown[]> =>
  (client as unknown as Caller<Promise<unknown[]>>)[name]?.(...args) ?? Promise.reject(new Error(`no command ${name}`))

/** Sends commands together, for a cell each. Rejects if one of them fails. */
export const sendMany = async (client: Redis, commands: readonly CellCommand[]): Promise<unknown[]> => {
  const pipeline = client.pipeline()
  for (const [name, ...args] of commands) (pipeline as unknown as Caller<ChainableCommander>)[name]?.(...args)
  const results = await pipeline.exec() ?? []
  return results.map(([error, reply]) => {
    if (error !== null) throw error
    return (reply as unknown[])[0]
  })
}

export type WithTimeout = <Reply>(reply: Promise<Reply>) => Promise<Reply>

/**
 * Rejects if a reply takes longer than `replyMsMax`. A reply that has arrived, but was not read yet because this
 * process was busy or had no core, is no reason to leave the cache: the event loop gets a turn to read it.
 */
export const createTimeout = (replyMsMax: number): WithTimeout => reply => new Promise((resolve, reject) => {
  const giveUp = () => { reject(new Error('the reply of Redis timed out')) }
  const timer = setTimeout(() => { setImmediate(() => { setImmediate(giveUp) }) }, replyMsMax)
  reply.finally(() => { clearTimeout(timer) }).then(resolve, reject)
})

/**
 * Redis as the place of cells. It connects in the background; until then, and whenever Redis is away, its operations
 * reject.
 */
export type RedisConnection = {
  /** Sends a command for cells; replies in the order of the cells. Rejects unless it is known to have run for each. */
  run: <Cell extends { key: string }>(
    toCommand: (cells: readonly Cell[]) => CellCommand, cells: readonly Cell[]
  ) => Promise<unknown[]>
  /**
   * The id of this run of the server; rejects unless it is a master that runs each of our commands. Throws
   * CacheUnusable if only its operator can change that.
   */
  identify: () => Promise<string>
  /** Calls back whenever the connection is lost. */
  onDisconnect: (listener: (reason: string) => void) => void
  close: () => Promise<void>
}

export type RedisConnectionNeeds = {
  scripts: Scripts
  withTimeout: WithTimeout
  /** Begins the keys by which commands are tried. */
  probePrefix: string
  onError: (error: Error) => void
}

/** The value of a field in a reply to INFO or CLUSTER INFO; empty: there is none. */
export const field = (info: string, name: string): string =>
  new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1] ?? ''

/**
 * Names the time for which a server has been a master, by the reply to INFO. A restart changes the first part. The
 * second one changes when a replica is promoted, so that a master which was a replica for a moment, and may have taken
 * over older data, is another one.
 */
export const toRunId = (info: string): string => `${field(info, 'run_id')}/${field(info, 'master_replid')}`

/** Rejects if the server cannot store, or may not run a command or a script: then it is no cache, though it answers. */
export const tryCommands = async (client: Redis, key: string, withTimeout: WithTimeout): Promise<void> => {
  // The first use of a script on a connection sends it, and the next one only names it.
  const lease: CellCommand = ['leaseCells', 1, key, 1000, 'Tprobe']
  const commands: CellCommand[] = [
    lease, lease, ['exposeCells', 1, key, 1, 'E1 probe', 1000, 'Tprobe'], ['mget', key],
    ['invalidateCells', 1, key, 2]
  ]
  await Promise.all(commands.map(command => withTimeout(send(client, command))))
}

// Replies that stay the same until someone changes the configuration of Redis or of this service.
const operatorErrors = /^(?!ERR max number of clients)(NOPERM|NOAUTH|WRONGPASS|DENIED|ERR)\b/

/** The error itself, or a CacheUnusable in its place. */
export const toUnusable = (error: unknown): unknown =>
  error instanceof Error && operatorErrors.test(error.message)
    ? new CacheUnusable(error.message, { cause: error })
    : error
