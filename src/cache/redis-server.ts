import { randomUUID } from 'node:crypto'
import { Redis } from 'ioredis'
import type { RedisTarget } from '../config/redis-url.ts'
import {
  defineScripts, field, type RedisConnection, type RedisConnectionNeeds, redisOptions, send, toRunId, toUnusable,
  tryCommands
} from './redis-commands.ts'
import { CacheUnusable } from './status-cache.ts'

/*
 * One server as the place of cells: the one of the URL, or the master that the Sentinels of a group name. After a
 * failover the client connects to the new master, which has another run id; the lost connection has ended the epoch by
 * then.
 */

type ServerTarget = Exclude<RedisTarget, { kind: 'redis-cluster' }>

const open = (target: ServerTarget): Redis => {
  if (target.kind === 'redis') {
    const { location } = target
    return new Redis(location.startsWith('unix:') ? location.slice('unix://'.length) : location, redisOptions)
  }
  const { hosts, name, db, credentials, sentinelCredentials: { username, password }, tls, family } = target
  return new Redis({
    ...redisOptions,
    ...credentials,
    sentinels: hosts.map(host => ({ ...host })),
    name,
    db,
    family,
    // Without it a client stays with a master that was replaced for as long as that one lives.
    failoverDetector: true,
    sentinelRetryStrategy: redisOptions.retryStrategy,
    sentinelReconnectStrategy: redisOptions.retryStrategy,
    sentinelCommandTimeout: redisOptions.connectTimeout,
    ...username === undefined ? {} : { sentinelUsername: username },
    ...password === undefined ? {} : { sentinelPassword: password },
    ...tls ? { tls: {}, sentinelTLS: {}, enableTLSForSentinelMode: true } : {}
  })
}

// What a Sentinel says until its configuration, or this service's, is changed.
const sentinelRejections = /because (NOAUTH|WRONGPASS|NOPERM|ERR)\b/

/** Remembers why there is no connection. */
const watchErrors = (client: Redis, target: ServerTarget, onError: (error: Error) => void): (() => Error) => {
  let lastError: Error | null = null
  client.on('ready', () => { lastError = null })
  client.on('error', (error: Error) => {
    // That no Sentinel has helped says less than why the last one has not.
    if (!error.message.startsWith('All sentinels are unreachable')) lastError = error
    onError(error)
  })
  client.on('sentinelError', (error: Error) => {
    const isUnknown = target.kind === 'redis-sentinel' && error.message.includes('No such master')
    lastError = isUnknown
      ? new CacheUnusable(`the Sentinels know no master of the name ${target.name}`)
      : sentinelRejections.test(error.message) ? new CacheUnusable(error.message) : error
    onError(error)
  })
  return () => lastError ?? new Error('Redis is not connected')
}

/** Connects to one server. */
export const connectServer = (
  target: ServerTarget, { scripts, withTimeout, probePrefix, onError }: RedisConnectionNeeds
): RedisConnection => {
  const client = open(target)
  defineScripts(client, scripts)
  const reasonAway = watchErrors(client, target, onError)
  // Processes probe at the same time.
  const probeKey = `${probePrefix}${randomUUID()}`

  // The client goes on after a failed attempt, and looks for a Sentinel for ever.
  const firstAttempt = new Promise<void>(resolve => {
    for (const event of ['ready', 'error', 'close']) client.once(event, resolve)
  })
  const connect = () => { client.connect().catch(onError) }
  // If a failover is announced while the client asks a Sentinel, it ends, although its retryStrategy never gives up.
  client.on('end', connect)
  connect()

  const identify = async (): Promise<string> => {
    await firstAttempt
    if (client.status !== 'ready') throw reasonAway()
    const info = await withTimeout(client.info())
    if (field(info, 'redis_mode') === 'cluster') {
      throw new CacheUnusable('it runs in cluster mode, so REDIS_URL must begin with redis+cluster://')
    }
    if (field(info, 'role') !== 'master') {
      throw target.kind === 'redis' ? new CacheUnusable('it is not a master') : new Error('it is not a master any more')
    }
    // The client goes on in database 0 if there is no such database.
    const { db = 0 } = client.options
    if (db !== 0) await withTimeout(client.select(db))
    await tryCommands(client, probeKey, withTimeout)
    return toRunId(info)
  }

  return {
    run: (toCommand, cells) => send(client, toCommand(cells)),
    identify: () => identify().catch((error: unknown) => { throw toUnusable(error) }),
    onDisconnect: listener => {
      client.on('close', () => { listener('connection lost') })
    },
    close: async () => {
      client.removeAllListeners('close').removeAllListeners('end')
      await client.quit().catch(() => {})
      // Ends the connections to Sentinels too.
      client.disconnect()
    }
  }
}
