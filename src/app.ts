import { randomBytes, randomUUID } from 'node:crypto'
import { performance } from 'node:perf_hooks'
import type { FastifyInstance } from 'fastify'
import { type Logger, pino } from 'pino'
import { createLoop, type Loop } from './background/loop.ts'
import { createPruner } from './background/pruner.ts'
import { createRelay, relayIntervalMs } from './background/relay.ts'
import { createWorker, type Worker } from './background/worker.ts'
import type { Config } from './config.ts'
import { reasonOf } from './errors.ts'
import type { Scope } from './http/auth.ts'
import type { PartHealth } from './http/operations-routes.ts'
import { createReveal } from './http/reveal.ts'
import { createServer } from './http/server.ts'
import type { KnownType } from './http/submit-routes.ts'
import { createCheck } from './http/validation.ts'
import { createViews } from './http/views.ts'
import { createMetrics, type Metrics } from './metrics.ts'
import { createProcessorPool } from './processors/pool.ts'
import { processors } from './processors/registry.ts'
import type { EpochStatus } from './status/epoch.ts'
import { createExpose, createOutdate } from './status/expose.ts'
import { openGuardedCache } from './status/guarded-cache.ts'
import { createReadResult } from './status/read-result.ts'
import { createReadStatus } from './status/read-status.ts'
import { type ChangeLog, createChangeLog } from './store/change-log.ts'
import { type Database, openDatabase } from './store/database.ts'
import { pruneIdempotencyKeys } from './store/idempotency.ts'
import { createJobStore, type JobStore } from './store/job-store.ts'
import { migrate } from './store/migrations/migrate.ts'
import { lockForProcess } from './store/process-lock.ts'
import { createQueueLook } from './store/queue.ts'
import { createResultStore } from './store/result-store.ts'
import { createTransact, type Transact } from './store/transact.ts'
import { createRunJob, type RunJob, type RunJobNeeds } from './write/run-job.ts'
import { createSubmitJob, idempotencyKeyKeptMs } from './write/submit-job.ts'

const rescueIntervalMs = 1000
const drainGraceMs = 5000

const now = () => Date.now()
const monotonicNow = () => performance.now()
const randomId = () => randomBytes(12).toString('base64url')

const createStatusParts = (config: Config, database: Database, store: JobStore, metrics: Metrics, log: Logger) => {
  const guarded = openGuardedCache(config.redisUrl, {
    incarnation: store.incarnation(),
    randomId,
    now,
    monotonicNow,
    onChange: ({ mode, reason }) => {
      metrics.cacheOn.set(mode === 'on' ? 1 : 0)
      if (mode === 'on') return log.info('the cache is in use')
      metrics.cacheTrips.inc()
      log.warn({ reason }, 'the cache is out of use: the store answers alone')
    },
    // Not the error itself: it holds the command, and AUTH is one.
    onError: error => { log.debug({ reason: reasonOf(error) }, 'redis') }
  })
  const views = createViews({
    publicUrl: config.publicUrl,
    onInvalid: (jobId, error) => {
      metrics.recordsInvalid.inc()
      log.error({ jobId, err: error }, 'a record breaks BR-001; nothing of it is shown')
    }
  })
  const { cache, epoch } = guarded
  const { find } = store
  const expose = createExpose({ cache, epoch, toEntry: views.toEntry })
  const readStatus = createReadStatus({
    cache, epoch, expose, find, randomId, onRead: source => { metrics.statusReads.inc({ source }) }
  })
  const readResult = createReadResult({ find, expose, read: createResultStore({ database }).read })
  return { guarded, views, expose, readStatus, readResult }
}

const reportTransition = (metrics: Metrics, log: Logger): RunJobNeeds['onTransition'] =>
  ({ jobId, type, state, attempt }, event) => {
    metrics.jobTransitions.inc({ event, state })
    log.info({ jobId, type, attempt, event, state }, `job ${state}`)
  }

type Embedded = { worker: Worker, close: () => Promise<void> }

const noWorker: Embedded = {
  worker: { start: () => {}, wake: () => {}, stop: () => Promise.resolve() },
  close: () => Promise.resolve()
}

const createEmbeddedWorker = (config: Config, runJob: RunJob, log: Logger): Embedded => {
  if (config.workers === 0) return noWorker
  const pool = createProcessorPool({ databasePath: config.databasePath, threads: config.workers })
  const worker = createWorker({
    runJob,
    pool,
    types: [...processors.keys()],
    slots: config.workers,
    leaseMs: config.leaseMs,
    onError: (error, jobId) => { log.error({ err: error, jobId }, 'the embedded worker failed') }
  })
  return { worker, close: pool.close }
}

/** Which types the process itself can run, as the edge checks them. */
const toKnownTypes = (): ReadonlyMap<string, KnownType> =>
  new Map([...processors].map(([type, { inputSchema, needsScopes }]) =>
    [type, { needsScopes: needsScopes as Scope[], validateInput: createCheck(inputSchema) }]))

const createStoreCheck = (store: JobStore): (() => Promise<PartHealth>) => {
  let health: PartHealth = { kind: 'sqlite', ok: true, since: now(), reason: null }
  return async () => {
    const reason = await store.ping().then(() => null, (error: Error) => reasonOf(error.cause ?? error))
    const ok = reason === null
    if (ok !== health.ok) health = { kind: 'sqlite', ok, since: now(), reason }
    return health
  }
}

const toCacheHealth = (kind: string, { mode, since, reason }: EpochStatus): PartHealth =>
  ({ kind, ok: mode === 'on', since, reason })

type LoopParts = { config: Config, changeLog: ChangeLog, transact: Transact, relay: () => Promise<number>, runJob: RunJob, metrics: Metrics, log: Logger }

const createLoops = ({ config, changeLog, transact, relay, runJob, metrics, log }: LoopParts): Loop[] => {
  const onHealth = (part: string) => (error: Error | null) => {
    if (error === null) log.info({ part }, 'works again')
    else log.error({ part, err: error }, 'failed, and will be tried again')
  }
  const prune = createPruner({
    changeLog,
    pruneIdempotencyKeys: (at, limit) => pruneIdempotencyKeys(transact, at, limit),
    idempotencyKeyKeptMs,
    now
  })
  return [
    createLoop({
      runOnce: async () => { metrics.changesRelayed.inc(await relay()) },
      intervalMs: relayIntervalMs,
      onHealth: onHealth('relay')
    }),
    createLoop({ runOnce: () => runJob.rescue(), intervalMs: rescueIntervalMs, onHealth: onHealth('rescuer') }),
    createLoop({ runOnce: prune, intervalMs: config.pruneIntervalMs, onHealth: onHealth('pruner') })
  ]
}

/** A service, put together; it neither listens nor works yet. */
export type App = {
  server: FastifyInstance
  /** Listens, and only then begins to run jobs: a start that fails must not cost a job an attempt. Returns the URL. */
  listen: (host: string, port: number) => Promise<string>
  /** What it stands on, in words. */
  facts: { store: string, cache: string, workers: number }
  /** Stops accepting, finishes what is in flight, gives unfinished jobs back to the queue, closes. */
  drain: () => Promise<void>
}

/** `logStream` takes the log's lines in place of standard output. */
export type AppOptions = { logStream?: { write: (line: string) => void } }

const openLockedDatabase = async (path: string) => {
  const database = openDatabase(path)
  try {
    const unlock = lockForProcess(path)
    await migrate(database.writer)
    return { database, unlock }
  } catch (error) {
    await database.close()
    throw error
  }
}

type LifecycleParts = { server: FastifyInstance, loops: Loop[], worker: Worker, close: () => Promise<void>, onDraining: () => void }

const createLifecycle = ({ server, loops, worker, close, onDraining }: LifecycleParts): Pick<App, 'listen' | 'drain'> => {
  let draining = false
  let listening: Promise<unknown> = Promise.resolve()
  return {
    listen: (host, port) => {
      const address = server.listen({ host, port, listenTextResolver: text => text }).then(url => {
        if (draining) return url
        for (const loop of loops) loop.start()
        worker.start()
        return url
      })
      listening = address.catch(() => {})
      return address
    },
    drain: async () => {
      draining = true
      onDraining()
      await listening
      // A client that has stopped reading its answer would hold the process for ever.
      const patience = setTimeout(() => { server.server.closeAllConnections() }, drainGraceMs)
      await Promise.all([server.close(), worker.stop(drainGraceMs)])
      clearTimeout(patience)
      await Promise.all(loops.map(loop => loop.stop()))
      await close()
    }
  }
}

/** Puts the parts together: the only place that knows them all. Throws DatabaseInUse, and what migration throws. */
export const createApp = async (config: Config, options: AppOptions = {}): Promise<App> => {
  const { database, unlock } = await openLockedDatabase(config.databasePath)
  const log = pino({ level: config.logLevel }, options.logStream ?? pino.destination(1))
  const metrics = createMetrics()
  const transact = createTransact({ database, now: monotonicNow })
  const store = createJobStore({ database })
  const changeLog = createChangeLog({ database, transact })
  const { guarded, views, expose, readStatus, readResult } = createStatusParts(config, database, store, metrics, log)
  const queue = createQueueLook({ database })
  const runJob = createRunJob({ transact, queue, expose, randomId, now, onTransition: reportTransition(metrics, log) })
  const { worker, close: closeThreads } = createEmbeddedWorker(config, runJob, log)
  const onQueued = () => {
    metrics.jobsSubmitted.inc()
    worker.wake()
  }

  let draining = false
  const server = await createServer({
    log,
    bodyBytesMax: config.bodyBytesMax,
    tokens: config,
    publicUrl: config.publicUrl,
    reveal: createReveal({ readStatus, incarnation: store.incarnation(), representation: views.representation, publicUrl: config.publicUrl }),
    readResult,
    submitJob: createSubmitJob({ transact, expose, randomUuid: randomUUID, now, onQueued }),
    knownTypes: toKnownTypes(),
    jobTypes: config.jobTypes,
    metrics,
    checkStore: createStoreCheck(store),
    checkCache: () => toCacheHealth(guarded.kind, guarded.status()),
    isDraining: () => draining
  })

  const { epoch } = guarded
  const onGap = () => { epoch.trip(epoch.view(), 'the change log was pruned too far') }
  const relay = createRelay({ changeLog, outdate: createOutdate(guarded), onGap })
  const loops = createLoops({ config, changeLog, transact, relay, runJob, metrics, log })
  await guarded.start()

  const facts = { store: `sqlite (${config.databasePath})`, cache: guarded.kind, workers: config.workers }
  const close = async () => {
    await guarded.stop()
    await closeThreads()
    await database.close()
    unlock()
  }
  const onDraining = () => { draining = true }
  return { server, facts, ...createLifecycle({ server, loops, worker, close, onDraining }) }
}
