import { copyFileSync, constants, existsSync, mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { buildDataset, keepDataset } from './datasets.ts'
import { ensurePeers, findPostgres } from './peers.ts'
import { createRequests, secret, toPlace } from './requests.ts'
import type { ServerName, Target } from './scenarios.ts'
import { freePort, type RedisServer, type Server, startRedis, startServer, until } from './servers.ts'

/*
 * The servers of a scenario, started and stopped.
 */

const programs: Record<ServerName, string> = {
  service: 'src/main.ts',
  bare: 'bench/controls/bare.ts',
  jwt: 'bench/controls/jwt.ts',
  bullmq: 'bench/peers/bullmq.ts',
  express: 'bench/peers/express.ts',
  'pg-boss': 'bench/peers/pg-boss.ts'
}

/** From this size on a dataset is kept for later runs. */
const rowsKept = 1_000_000

export type TargetNeeds = {
  /** For databases and what else is gone with the run. */
  directory: string
  /** Arguments for Node before the service's program. */
  serviceArgs: readonly string[]
  note: (line: string) => void
}

/** What a service has counted so far; null where the server is another. */
export type Counters = {
  storeReads: number | null
  redisCommands: number | null
  /** How often it left a cache that failed. */
  cacheTrips: number | null
}

export type RunningTarget = {
  target: Target
  server: Server
  redis: RedisServer | null
  createRequest: ReturnType<typeof createRequests>
  counters: () => Promise<Counters>
  /** Resolves once the service uses its cache again. */
  untilCached: () => Promise<void>
  stop: () => Promise<void>
}

/** A server that cannot be measured here, and why. */
export class TargetAbsent extends Error {}

const readMetrics = async (url: string): Promise<(name: string) => number> => {
  const lines = (await (await fetch(`${url}/metrics`)).text()).split('\n')
  return name => Number(lines.find(line => line.startsWith(`${name} `))?.split(' ').at(-1) ?? 0)
}

const countService = async (url: string, redis: RedisServer | null): Promise<Counters> => {
  const metric = await readMetrics(url)
  return {
    storeReads: metric('job_status_reads_total{source="store"}'),
    redisCommands: await redis?.commands() ?? null,
    cacheTrips: metric('job_status_cache_trips_total')
  }
}

const modelPath = (directory: string, rows: number): string => join(directory, `${rows}.db`)

/** Makes what the services of these targets are given, before any is started: nothing else can go on meanwhile. */
export const prepareDatasets = async (targets: readonly Target[], { directory, note }: TargetNeeds): Promise<void> => {
  const sizes = new Set(targets.filter(({ server }) => server === 'service').map(({ rows }) => rows))
  for (const rows of sizes) {
    if (rows >= rowsKept) await keepDataset(directory, rows, note)
    else if (!existsSync(modelPath(directory, rows))) await buildDataset(modelPath(directory, rows), rows)
  }
}

let copies = 0

const freshDatabase = async ({ directory, note }: TargetNeeds, rows: number): Promise<string> => {
  if (rows >= rowsKept) return await keepDataset(directory, rows, note)
  const path = join(directory, `copy-${++copies}.db`)
  copyFileSync(modelPath(directory, rows), path, constants.COPYFILE_FICLONE)
  return path
}

const removeCopy = (path: string): void => {
  if (!/copy-\d+\.db$/.test(path)) return
  for (const suffix of ['', '-wal', '-shm', '.lock', '.gate.lock']) rmSync(path + suffix, { force: true })
}

const toRedis = async (target: Target): Promise<{ redis: RedisServer | null, url: string | null }> => {
  const usesRedis = target.server === 'bullmq' || (target.server === 'service' && target.cache === 'redis')
  const redis = usesRedis ? await startRedis() : null
  if (redis !== null) return { redis, url: redis.url }
  return { redis, url: target.server === 'service' && target.cache === 'redis-down' ? `redis://127.0.0.1:${await freePort()}` : null }
}

const serviceEnv = (databasePath: string, redisUrl: string | null): Record<string, string> => ({
  DATABASE_URL: `sqlite:${databasePath}`, WORKERS: '0', ...(redisUrl === null ? {} : { REDIS_URL: redisUrl })
})

const peerEnv = async (target: Target, { directory }: TargetNeeds, redisUrl: string | null): Promise<Record<string, string>> => {
  if (target.server === 'bare' || target.server === 'jwt') return {}
  const reason = await ensurePeers()
  if (reason !== null) throw new TargetAbsent(reason)
  const postgres = target.server === 'pg-boss' ? await findPostgres() : null
  if (target.server === 'pg-boss' && postgres === null) throw new TargetAbsent('no Postgres answers')
  const peerDirectory = join(directory, `peer-${++copies}`)
  mkdirSync(peerDirectory)
  return {
    JOBS: String(target.rows),
    DATABASE_PATH: join(peerDirectory, 'jobs.db'),
    ...(redisUrl === null ? {} : { REDIS_URL: redisUrl }),
    ...(postgres === null ? {} : { POSTGRES_URL: postgres })
  }
}

/** Starts what the target needs. Throws TargetAbsent where a peer cannot be had on this machine. */
export const startTarget = async (target: Target, needs: TargetNeeds): Promise<RunningTarget> => {
  const isService = target.server === 'service'
  const { redis, url: redisUrl } = await toRedis(target)
  try {
    const databasePath = isService ? await freshDatabase(needs, target.rows) : ''
    const server = await startServer({
      program: programs[target.server],
      nodeArgs: isService ? needs.serviceArgs : [],
      env: { JWT_SECRET: secret, ...(isService ? serviceEnv(databasePath, redisUrl) : await peerEnv(target, needs, redisUrl)) }
    })
    return {
      target,
      server,
      redis,
      createRequest: createRequests(toPlace(server.url, target.rows)),
      counters: async () => isService ? await countService(server.url, redis) : { storeReads: null, redisCommands: null, cacheTrips: null },
      untilCached: () => until('the use of the cache', async () => (await readMetrics(server.url))('job_status_cache_on') === 1),
      stop: async () => {
        await server.stop()
        await redis?.stop()
        removeCopy(databasePath)
      }
    }
  } catch (error) {
    await redis?.stop()
    throw error
  }
}
