import { randomBytes, randomUUID } from 'node:crypto'
import { performance } from 'node:perf_hooks'
import type { FastifyInstance } from 'fastify'
import { createLoop } from './background/loop.ts'
import { createPruner } from './background/pruner.ts'
import { createRelay, relayIntervalMs } from './background/relay.ts'
import { createWorker, embeddedHolder } from './background/worker.ts'
import { createMemoryCache } from './cache/memory-cache.ts'
import { createRedisCache } from './cache/redis-cache.ts'
import type { StatusCache } from './cache/status-cache.ts'
import type { Config } from './config.ts'
import { createReveal } from './http/reveal.ts'
import type { PartHealth } from './http/operations-routes.ts'
import { createServer } from './http/server.ts'
import type { KnownType } from './http/submit-routes.ts'
import type { Scope } from './http/auth.ts'
import { createCheck } from './http/validation.ts'
import { createViews } from './http/views.ts'
import { createMetrics, type Metrics } from './metrics.ts'
import { createProcessorPool } from './processors/pool.ts'
import { processors } from './processors/registry.ts'
import { createEpoch, createFixedEpoch, type Epoch, type EpochStatus } from './status/epoch.ts'
import { createExpose } from './status/expose.ts'
import { createReadResult } from './status/read-result.ts'
import { createReadStatus } from './status/read-status.ts'
import { createChangeLog } from './store/change-log.ts'
import { openDatabase } from './store/database.ts'
import { pruneIdempotencyKeys } from './store/idempotency.ts'
import { createJobStore } from './store/job-store.ts'
import { migrate } from './store/migrations/migrate.ts'
import { lockForProcess } from './store/process-lock.ts'
import { createResultStore } from './store/result-store.ts'
import { createTransact } from './store/transact.ts'
import { createRunJob } from './write/run-job.ts'
import { createSubmitJob, idempotencyKeyKeptMs } from './write/submit-job.ts'

const rescueIntervalMs = 1000
const drainGraceMs = 5000

const now = () => Date.now()
const monotonicNow = () => performance.now()
const randomId = () => randomBytes(12).toString('base64url')

type Cache = { kind: string, cache: StatusCache, epoch: Epoch, health: () => PartHealth, start: () => Promise<void>, stop: () => void }

type CacheNeeds = { config: Config, incarnation: string, metrics: Metrics, onChange: (status: EpochStatus) => void, onError: (error: Error) => void }

const openMemoryCache = ({ metrics }: CacheNeeds): Cache => {
  const since = now()
  metrics.cacheOn.set(1)
  return {
    kind: 'memory',
    cache: createMemoryCache({ now: monotonicNow, random: Math.random }),
    epoch: createFixedEpoch(randomId),
    health: () => ({ kind: 'memory', ok: true, since, reason: null }),
    start: () => Promise.resolve(),
    stop: () => {}
  }
}

const openRedisCache = (url: string, { incarnation, metrics, onChange, onError }: CacheNeeds): Cache => {
  const cache = createRedisCache({ url, incarnation, random: Math.random, onError })
  const epoch = createEpoch({
    identify: cache.identify,
    randomId,
    now,
    schedule: (work, ms) => {
      const timer = setTimeout(work, ms).unref()
      return { cancel: () => { clearTimeout(timer) } }
    },
    onChange: status => {
      metrics.cacheOn.set(status.mode === 'on' ? 1 : 0)
      if (status.mode === 'off') metrics.cacheTrips.inc()
      onChange(status)
    }
  })
  cache.onDisconnect(reason => { epoch.trip(epoch.view(), reason) })
  return {
    kind: 'redis',
    cache,
    epoch,
    health: () => {
      const { mode, since, reason } = epoch.status()
      return { kind: 'redis', ok: mode === 'on', since, reason }
    },
    start: epoch.start,
    stop: epoch.stop
  }
}

const openCache = (needs: CacheNeeds): Cache =>
  needs.config.redisUrl === null ? openMemoryCache(needs) : openRedisCache(needs.config.redisUrl, needs)

/** Which types the process itself can run, as the edge checks them. */
const toKnownTypes = (): ReadonlyMap<string, KnownType> =>
  new Map([...processors].map(([type, { inputSchema, needsScopes }]) =>
    [type, { needsScopes: needsScopes as Scope[], validateInput: createCheck(inputSchema) }]))

/** A service, put together and working in the background; its server is not listening yet. */
export type App = {
  server: FastifyInstance
  /** What it stands on, in words. */
  facts: { store: string, cache: string, workers: number }
  /** Stops accepting, finishes what is in flight, gives unfinished jobs back to the queue, closes. */
  drain: () => Promise<void>
}

/** `logStream` takes the log's lines in place of standard output. */
export type AppOptions = { logStream?: { write: (line: string) => void } }

/** Puts the parts together: the only place that knows them all. Throws DatabaseInUse, and what migration throws. */
export const createApp = async (config: Config, options: AppOptions = {}): Promise<App> => {
  const database = openDatabase(config.databasePath)
  const unlock = lockForProcess(config.databasePath)
  await migrate(database.writer)
  const metrics = createMetrics()
  const transact = createTransact({ database, now: monotonicNow })
  const store = createJobStore({ database })
  const incarnation = store.incarnation()
  const changeLog = createChangeLog({ database, transact })

  // The log belongs to the server, which needs the parts below; what they report before it stands cannot be.
  let server: FastifyInstance
  const cachePart = openCache({
    config,
    incarnation,
    metrics,
    onChange: ({ mode, reason }) => {
      if (mode === 'on') server.log.info('the cache is in use')
      else server.log.warn({ reason }, 'the cache is out of use: the store answers alone')
    },
    onError: error => { server.log.debug({ err: error }, 'redis') }
  })
  const { cache, epoch } = cachePart
  const views = createViews({
    publicUrl: config.publicUrl,
    onInvalid: (jobId, error) => {
      metrics.recordsInvalid.inc()
      server.log.error({ jobId, err: error }, 'a record breaks BR-001; nothing of it is shown')
    }
  })
  const expose = createExpose({ cache, epoch, toEntry: views.toEntry })
  const readStatus = createReadStatus({
    cache, epoch, expose, find: store.find, randomId, onRead: source => { metrics.statusReads.inc({ source }) }
  })
  const readResult = createReadResult({ find: store.find, expose, read: createResultStore({ database }).read })
  const runJob = createRunJob({ transact, expose, randomId, now })

  const pool = createProcessorPool({ databasePath: config.databasePath, threads: config.workers })
  const worker = createWorker({
    runJob,
    pool,
    types: [...processors.keys()],
    slots: config.workers,
    leaseMs: config.leaseMs,
    onError: (error, jobId) => { server.log.error({ err: error, jobId }, 'the embedded worker failed') }
  })
  const submitJob = createSubmitJob({
    transact,
    expose,
    randomUuid: randomUUID,
    now,
    onQueued: () => {
      metrics.jobsSubmitted.inc()
      worker.wake()
    }
  })

  const startedAt = now()
  let storeHealth: PartHealth = { kind: 'sqlite', ok: true, since: startedAt, reason: null }
  const checkStore = async () => {
    const reason = await store.ping().then(() => null, (error: Error) => error.message)
    const ok = reason === null
    if (ok !== storeHealth.ok) storeHealth = { kind: 'sqlite', ok, since: now(), reason }
    return storeHealth
  }

  let draining = false
  server = await createServer({
    log: { level: config.logLevel, ...(options.logStream === undefined ? {} : { stream: options.logStream }) },
    bodyBytesMax: config.bodyBytesMax,
    tokens: config,
    publicUrl: config.publicUrl,
    reveal: createReveal({ readStatus, incarnation, representation: views.representation }),
    readResult,
    submitJob,
    knownTypes: toKnownTypes(),
    jobTypes: config.jobTypes,
    metrics,
    checkStore,
    checkCache: cachePart.health,
    isDraining: () => draining
  })

  const reportHealth = (part: string) => (error: Error | null) => {
    if (error === null) server.log.info({ part }, 'works again')
    else server.log.error({ part, err: error }, 'failed, and will be tried again')
  }
  const relay = createRelay({
    changeLog, find: store.find, expose, onGap: () => { epoch.trip(epoch.view(), 'the change log was pruned too far') }
  })
  const loops = [
    createLoop({
      runOnce: async () => { metrics.changesRelayed.inc(await relay()) },
      intervalMs: relayIntervalMs,
      onHealth: reportHealth('relay')
    }),
    createLoop({ runOnce: () => runJob.rescue(), intervalMs: rescueIntervalMs, onHealth: reportHealth('rescuer') }),
    createLoop({
      runOnce: createPruner({
        changeLog, pruneIdempotencyKeys: (at, limit) => pruneIdempotencyKeys(transact, at, limit), idempotencyKeyKeptMs, now
      }),
      intervalMs: config.pruneIntervalMs,
      onHealth: reportHealth('pruner')
    })
  ]
  await cachePart.start()
  // Nobody else works on this database, so what the embedded worker held is held by nobody.
  while (await runJob.rescue(embeddedHolder) > 0);
  for (const loop of loops) loop.start()
  worker.start()

  return {
    server,
    facts: { store: `sqlite (${config.databasePath})`, cache: cachePart.kind, workers: config.workers },
    drain: async () => {
      draining = true
      await Promise.all([server.close(), worker.stop(drainGraceMs)])
      await Promise.all(loops.map(loop => loop.stop()))
      cachePart.stop()
      await pool.close()
      await cache.close()
      await database.close()
      unlock()
    }
  }
}
