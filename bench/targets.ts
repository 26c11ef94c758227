import { copyFileSync, constants, existsSync, mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Answer } from './answer.ts'
import { buildDataset, keepDataset } from './datasets.ts'
import { ensurePeers } from './peers.ts'
import type { BenchPostgres } from './postgres.ts'
import { createRequests, secret, toPlace } from './requests.ts'
import type { ServerName, Target } from './scenarios.ts'
import {
  freePort, type RedisServer, type RedisUsage, type Server, startRedis, startRedisCluster, startServer, until
} from './servers.ts'

/*
 * Starts and stops the servers of a scenario.
 */

const programs: Record<ServerName, string> = {
  service: 'src/main.ts',
  bare: 'bench/controls/bare.ts',
  'bare-same': 'bench/controls/bare-same.ts',
  jwt: 'bench/controls/jwt.ts',
  'point-read': 'bench/controls/point-read.ts',
  bullmq: 'bench/peers/bullmq.ts',
  express: 'bench/peers/express.ts',
  'pg-boss': 'bench/peers/pg-boss.ts'
}

/** A dataset of this size or larger is kept for later runs. */
const rowsKept = 1_000_000

export type TargetNeeds = {
  /** Folder for databases and other files; removed after the run. */
  directory: string
  /** Node arguments of the service. */
  serviceArgs: readonly string[]
  /** Starts the Postgres of the run when it is first needed. */
  postgres: () => Promise<BenchPostgres>
  note: (line: string) => void
}

/** `answer`: what the service answers to the first request of the scenario, as soon as it runs. */
export type StartNeeds = TargetNeeds & { answer: () => Promise<Answer> }

/** Counters of a service since it started; null for other servers. */
export type Counters = {
  storeReads: number | null
  redis: RedisUsage | null
  /** How often it stopped using the cache because the cache failed. */
  cacheTrips: number | null
}

export type RunningTarget = {
  target: Target
  server: Server
  redis: RedisServer | null
  createRequest: ReturnType<typeof createRequests>
  counters: () => Promise<Counters>
  /** Resolves when the service uses its cache. */
  untilCached: () => Promise<void>
  stop: () => Promise<void>
}

/** A peer cannot be measured on this machine; the message is the reason. */
export class TargetUnavailable extends Error {}

const noCounters: Counters = { storeReads: null, redis: null, cacheTrips: null }

const readMetrics = async (url: string): Promise<(name: string) => number> => {
  const lines = (await (await fetch(`${url}/metrics`)).text()).split('\n')
  return name => Number(lines.find(line => line.startsWith(`${name} `))?.split(' ').at(-1) ?? 0)
}

const countService = async (url: string, redis: RedisServer | null): Promise<Counters> => {
  const metric = await readMetrics(url)
  return {
    storeReads: metric('job_status_reads_total{source="store"}'),
    redis: await redis?.usage() ?? null,
    cacheTrips: metric('job_status_cache_trips_total')
  }
}

const modelPath = (directory: string, rows: number): string => join(directory, `${rows}.db`)

type Kind = 'sqlite' | 'postgres' | 'none'

const databaseOf = ({ server, database }: Target): Kind => {
  if (server === 'service') return database
  return server === 'point-read' ? 'postgres' : 'none'
}

/** Builds the databases of these targets. It blocks the event loop, so it runs before any server is started. */
export const prepareDatasets = async (targets: readonly Target[], needs: TargetNeeds): Promise<void> => {
  const { directory, note, postgres } = needs
  const sizesOf = (kind: Kind) => new Set(targets.filter(target => databaseOf(target) === kind).map(({ rows }) => rows))
  for (const rows of sizesOf('sqlite')) {
    if (rows >= rowsKept) await keepDataset(directory, rows, note)
    else if (!existsSync(modelPath(directory, rows))) await buildDataset(modelPath(directory, rows), rows)
  }
  for (const rows of sizesOf('postgres')) await (await postgres()).prepare(rows)
}

let copies = 0

const freshDatabase = async ({ directory, note }: TargetNeeds, rows: number): Promise<string> => {
  if (rows >= rowsKept) return await keepDataset(directory, rows, note)
  const path = join(directory, `copy-${++copies}.db`)
  copyFileSync(modelPath(directory, rows), path, constants.COPYFILE_FICLONE)
  return path
}

const openDataset = async (target: Target, needs: TargetNeeds): Promise<{ url: string, remove: () => void }> => {
  if (databaseOf(target) === 'postgres') {
    return { url: await (await needs.postgres()).copyOf(target.rows), remove: () => {} }
  }
  const path = await freshDatabase(needs, target.rows)
  return { url: `sqlite:${path}`, remove: () => { removeCopy(path) } }
}

const removeCopy = (path: string): void => {
  if (!/copy-\d+\.db$/.test(path)) return
  for (const suffix of ['', '-wal', '-shm', '.lock']) rmSync(path + suffix, { force: true })
}

const startCache = async ({ server, cache }: Target, directory: string): Promise<RedisServer | null> => {
  if (server === 'bullmq' || (server === 'service' && cache === 'redis')) return await startRedis()
  if (server !== 'service' || cache !== 'redis-cluster') return null
  const own = join(directory, `cluster-${++copies}`)
  mkdirSync(own)
  return await startRedisCluster(own)
}

const toRedis = async (
  target: Target, directory: string
): Promise<{ redis: RedisServer | null, url: string | null }> => {
  const redis = await startCache(target, directory)
  if (redis !== null) return { redis, url: redis.url }
  const isDown = target.server === 'service' && target.cache === 'redis-down'
  return { redis, url: isDown ? `redis://127.0.0.1:${await freePort()}` : null }
}

const serviceEnv = (databaseUrl: string, redisUrl: string | null): Record<string, string> => ({
  DATABASE_URL: databaseUrl, WORKERS: '0', ...(redisUrl === null ? {} : { REDIS_URL: redisUrl })
})

const controls: readonly ServerName[] = ['bare', 'bare-same', 'jwt', 'point-read']

const peerEnv = async (
  target: Target, { directory, postgres, answer }: StartNeeds, redisUrl: string | null
): Promise<Record<string, string>> => {
  if (target.server === 'bare-same') return { ANSWER: JSON.stringify(await answer()) }
  if (controls.includes(target.server)) return {}
  const reason = await ensurePeers()
  if (reason !== null) throw new TargetUnavailable(reason)
  const peerDirectory = join(directory, `peer-${++copies}`)
  mkdirSync(peerDirectory)
  return {
    JOBS: String(target.rows),
    DATABASE_PATH: join(peerDirectory, 'jobs.db'),
    ...(redisUrl === null ? {} : { REDIS_URL: redisUrl }),
    ...(target.server === 'pg-boss' ? { POSTGRES_URL: await (await postgres()).createDatabase() } : {})
  }
}

/** Starts a target with the servers that it needs. Throws TargetUnavailable if a peer cannot run on this machine. */
export const startTarget = async (target: Target, needs: StartNeeds): Promise<RunningTarget> => {
  const isService = target.server === 'service'
  const { redis, url: redisUrl } = await toRedis(target, needs.directory)
  try {
    const dataset = databaseOf(target) === 'none' ? { url: '', remove: () => {} } : await openDataset(target, needs)
    const server = await startServer({
      program: programs[target.server],
      nodeArgs: isService ? needs.serviceArgs : [],
      env: {
        JWT_SECRET: secret,
        DATABASE_URL: dataset.url,
        ...(isService ? serviceEnv(dataset.url, redisUrl) : await peerEnv(target, needs, redisUrl))
      }
    })
    return {
      target,
      server,
      redis,
      createRequest: createRequests(toPlace(server.url, target.rows)),
      counters: async () => isService ? await countService(server.url, redis) : noCounters,
      untilCached: () => until('the use of the cache', async () =>
        (await readMetrics(server.url))('job_status_cache_on') === 1),
      stop: async () => {
        await server.stop()
        await redis?.stop()
        dataset.remove()
      }
    }
  } catch (error) {
    await redis?.stop()
    throw error
  }
}
