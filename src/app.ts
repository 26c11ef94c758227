import { randomBytes, randomUUID } from 'node:crypto'
import type { FastifyInstance } from 'fastify'
import { type Logger, pino } from 'pino'
import { createEmbeddedWorker, type Worker } from './background/worker.ts'
import type { Loop } from './background/loop.ts'
import { createLoops } from './background/loops.ts'
import { createPruneTasks, type PruneTasksNeeds } from './background/prune-tasks.ts'
import { createPruner } from './background/pruner.ts'
import { createRelay } from './background/relay.ts'
import { createRedisCache } from './cache/redis-cache.ts'
import { busyMs, monotonicNow, now, schedule } from './clocks.ts'
import type { Config } from './config/config.ts'
import { reasonOf } from './errors.ts'
import { createStatusAccess } from './http/status-access.ts'
import { createServer } from './http/server.ts'
import { createViews } from './views/views.ts'
import { embeddedHolder } from './job/lease.ts'
import { createQueueGauges, createTypeLabels, recordTransition } from './job-telemetry.ts'
import { createMetrics, type Metrics } from './metrics.ts'
import {
  reportCacheMode, reportOverload, reportRateLimit, reportStoreHealth, reportUnread, reportWorkerError
} from './telemetry.ts'
import { processors } from './processors/registry.ts'
import { createSanitizePool } from './processors/sanitize/sanitize-pool.ts'
import { createCoherence } from './status/coherence.ts'
import { openCache } from './status/epoch/open-cache.ts'
import { createStoreCheck, toCacheHealth } from './status/health.ts'
import { createListStatuses } from './status/read-status.ts'
import { createReadAttempts } from './status/read-attempts.ts'
import { createReadResult } from './status/read-result.ts'
import { createSingleFlight } from './status/single-flight.ts'
import { openStore } from './store/open-store.ts'
import type { OpenedStore, Store } from './store/store.ts'
import { toSubmissionRules } from './submission-rules.ts'
import { createLongPollClaim } from './write/long-poll-claim.ts'
import { createCancelJob, createEraseJob } from './write/cancel-and-erase.ts'
import { createClaimJob } from './write/claim-job.ts'
import { type CommitNeeds, createCommit } from './write/commit.ts'
import { createExpireResults } from './write/expire-results.ts'
import { createOutages } from './write/outages.ts'
import { createRescueJobs } from './write/rescue-jobs.ts'
import { createRunJob } from './write/run-job.ts'
import { createStoreInput } from './write/store-input.ts'
import { createSubmitJob, idempotencyKeyKeptMs } from './write/submit-job.ts'
import { createUploads } from './write/uploads.ts'

const sanitizeLimits = { threads: 1, waitingMax: 100, timeoutMs: 10_000 }

const randomId = () => randomBytes(12).toString('base64url')

/**
 * The factories that a test may replace in order to break one rule on purpose: the test of a guarantee has to fail for
 * such a service. Production uses the real ones.
 */
export type Parts = {
  openStore: typeof openStore
  createRedisCache: typeof createRedisCache
  createCoherence: typeof createCoherence
  createCommit: typeof createCommit
  createRunJob: typeof createRunJob
  createRelay: typeof createRelay
}

const realParts: Parts = { openStore, createRedisCache, createCoherence, createCommit, createRunJob, createRelay }

type StatusNeeds = { parts: Parts, config: Config, opened: OpenedStore, node: string, metrics: Metrics, log: Logger }

const createStatusParts = ({ parts, config, opened: { store, stale }, node, metrics, log }: StatusNeeds) => {
  const { publicUrl } = config
  const { incarnation, jobs: { find, findVersion, list } } = store
  const coordination = { node, rows: store.epoch, staleNodes: stale.nodes }
  const views = createViews({
    publicUrl,
    onInvalid: (jobId, error) => {
      metrics.recordsInvalid.inc()
      log.error({ jobId, err: error }, 'a record breaks BR-001 and is not shown')
    },
    onUnread: reportUnread(log, monotonicNow)
  })
  const openedCache = openCache(config.redisUrl, coordination, {
    createRedisCache: parts.createRedisCache,
    incarnation,
    representation: views.representation,
    randomId,
    random: Math.random,
    now,
    monotonicNow,
    onChange: reportCacheMode(metrics, log),
    // Not the error itself: it contains the command, and that may be AUTH.
    onError: error => { log.debug({ reason: reasonOf(error) }, 'redis') }
  })
  let tokens = 0
  const { readStatus, readMany, expose, exposeMany, invalidate } = parts.createCoherence({
    cache: openedCache.cache,
    epoch: openedCache.epoch,
    views,
    find,
    findVersion,
    createSingleFlight,
    uniqueId: () => `${node}-${++tokens}`,
    onRead: source => { metrics.statusReads.inc({ source }) }
  })
  return {
    openedCache,
    expose,
    invalidate,
    reads: {
      statusAccess: createStatusAccess({ readStatus, incarnation, representation: views.representation, publicUrl }),
      readMany,
      listStatuses: createListStatuses({ list, exposeMany }),
      readResult: createReadResult({ ...store.results, find, expose, now }),
      readAttempts: createReadAttempts({ ...store.jobs, expose }),
      inputs: store.inputs
    }
  }
}

/** A service that is put together and neither listens nor runs jobs yet: createLifecycle does both. */
export type App = {
  server: FastifyInstance
  /** Its store, its cache and its number of workers, for the banner and the log. */
  facts: { store: string, cache: string, workers: number }
  loops: readonly Loop[]
  worker: Worker
  /** From now on responses say that the process is draining, and long polls end; all requests are still answered. */
  onDraining: () => void
  /** The server is about to close: no worker is given a job any more. */
  onClosing: () => void
  /** Releases everything that the app has opened, once the server, the worker and the loops have ended. */
  close: () => Promise<void>
}

/** `logStream` takes the log's lines in place of standard output. */
export type AppOptions = { logStream?: { write: (line: string) => void }, parts?: Partial<Parts> }

type CommandsNeeds = StatusNeeds & Pick<CommitNeeds, 'expose' | 'onTransition'>

/** The commands that change jobs, and the embedded worker, which runs jobs through them. */
const createCommands = ({
  parts, config, opened: { store, stale }, node, log, metrics, expose, onTransition
}: CommandsNeeds) => {
  const outages = createOutages({ now })
  const transact: Store['transact'] = work => outages.observe(store.transact(work))
  const needs = { commit: parts.createCommit({ transact, expose, onTransition }), now }
  const queueNeeds = { ...needs, queue: store.queue, randomId }
  const { resultRetentionMs, cancelGraceMs: graceMs } = config
  const rescueJobs = createRescueJobs({ ...queueNeeds, outages, graceMs })
  const runJob = parts.createRunJob({ ...needs, resultRetentionMs, graceMs })
  const claimJob = createClaimJob({ ...queueNeeds, release: runJob.release })
  const longPollClaim = createLongPollClaim({ claim: claimJob, release: runJob.release, monotonicNow, schedule })
  const worker = createEmbeddedWorker(config.databasePath, {
    claimJob,
    rescueJobs,
    runJob,
    slots: config.workers,
    holder: `${embeddedHolder}:${node}`,
    staleHolders: stale.holders,
    leaseMs: config.leaseMs,
    monotonicNow,
    onError: reportWorkerError(log, monotonicNow)
  })
  const onQueued = (type: string, tenant: string) => {
    metrics.jobsSubmitted.inc()
    worker.wake()
    longPollClaim.wake(type, tenant)
  }
  return {
    worker,
    rescueJobs,
    expireResults: createExpireResults(needs),
    ofClients: {
      submitJob: createSubmitJob({ ...needs, randomUuid: randomUUID, onQueued }),
      storeInput: createStoreInput({ ...needs, randomId, bytesMax: config.inputBytesMax }),
      cancelJob: createCancelJob({ ...needs, graceMs, onAsked: worker.cancel }),
      eraseJob: createEraseJob(needs),
      longPollClaim,
      runJob,
      uploads: createUploads({ runJob, monotonicNow, read: store.results.read })
    }
  }
}

type PruneNeeds = Pick<PruneTasksNeeds, 'expireResults'> &
  { config: Config, store: Store, metrics: Metrics, log: Logger, isStopping: () => boolean }

const createPrune = ({ config, store, expireResults, metrics, log, isStopping }: PruneNeeds) => {
  const { transact, changes, retention } = store
  const { recordRetentionMs, tombstoneRetentionMs, changeRetentionMs, pruneForeignRows } = config
  const kept = {
    idempotencyKeyKeptMs, recordRetentionMs, tombstoneRetentionMs, changeRetentionMs, pruneForeignRows
  }
  return createPruner({
    tasks: createPruneTasks({ ...kept, transact, changes, retention, expireResults, now }),
    onPruned: (kind, count) => {
      metrics.pruned.inc({ kind }, count)
      log.info({ kind, count }, 'pruned')
    },
    isStopping,
    monotonicNow
  })
}

const toLimits = (
  { bodyBytesMax, rateLimitPerMinute }: Config, writesWaiting: () => number, metrics: Metrics, log: Logger
) => ({
  bodyBytesMax,
  rateLimitPerMinute,
  writesWaiting,
  busyMs,
  random: Math.random,
  onOverload: reportOverload(metrics, log, monotonicNow),
  onRateLimited: reportRateLimit(log)
})

/** Puts the parts together: the only place that knows them all. Throws DatabaseInUse and DatabaseUnusable. */
export const createApp = async (config: Config, options: AppOptions = {}): Promise<App> => {
  const parts: Parts = { ...realParts, ...options.parts }
  const { databasePath, redisUrl } = config
  const opened = await parts.openStore({ databasePath, isCacheShared: redisUrl !== null, now, monotonicNow })
  const { store, store: { kind, jobs: { ping }, changes, queue: { count } } } = opened
  const node = randomId()
  const log = pino({ level: config.logLevel }, options.logStream ?? pino.destination(1))
  const metrics = createMetrics()
  const { openedCache, expose, invalidate, reads } = createStatusParts({ parts, config, opened, node, metrics, log })
  const typeLabels = createTypeLabels([...processors.keys(), ...config.jobTypes ?? []], config.metricsOfAllTypes)
  const onTransition = recordTransition({ metrics, log, typeLabels, now })
  const { worker, rescueJobs, expireResults, ofClients } =
    createCommands({ parts, config, opened, node, log, metrics, expose, onTransition })
  const sanitizePool = createSanitizePool(sanitizeLimits)

  const checkStore = createStoreCheck({ kind, ping, now, onChange: reportStoreHealth(metrics, log) })
  const refreshMetrics = createQueueGauges({ count, metrics, typeLabels, now, monotonicNow, schedule })
  let draining = false
  const follower = await changes.follow()
  const server = await createServer({
    status: { ...reads, changesCursor: follower.cursor },
    commands: { ...ofClients, sanitizeNow: sanitizePool.sanitizeNow },
    submissions: toSubmissionRules(config),
    limits: toLimits(config, store.writesWaiting, metrics, log),
    auth: { tokens: config, now },
    operations: {
      metrics,
      metricsToken: config.metricsToken,
      refreshMetrics,
      checkStore,
      checkCache: () => toCacheHealth(openedCache.kind, openedCache.status()),
      isDraining: () => draining
    },
    log,
    monotonicNow,
    publicUrl: config.publicUrl,
    corsOrigins: config.corsOrigins,
    leaseMs: config.leaseMs
  })

  const onGap = () => { openedCache.epoch.trip(openedCache.epoch.view(), 'the change log was pruned too far') }
  const relay = parts.createRelay({ follower, invalidate, onGap })
  const prune = createPrune({ config, store, expireResults, metrics, log, isStopping: () => draining })
  const loops = createLoops({
    relay, rescueJobs, prune, pruneIntervalMs: config.pruneIntervalMs, checkStore, metrics, log
  })
  await openedCache.start()

  const facts = { store: `${store.kind} (${databasePath})`, cache: openedCache.kind, workers: config.workers }
  const close = async () => {
    await openedCache.stop()
    await worker.close()
    await sanitizePool.close()
    await store.close()
  }
  const { endWaits, stop: onClosing } = ofClients.longPollClaim
  const onDraining = () => {
    draining = true
    endWaits()
  }
  return { server, facts, loops, worker, onDraining, onClosing, close }
}
