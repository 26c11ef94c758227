import type { Server } from 'node:http'
import type { FastifyInstance } from 'fastify'
import { type Logger, pino } from 'pino'
import { createCommands, type Handover } from './app/command-parts.ts'
import { createClose, createEnds, once } from './app/ends.ts'
import { type Parts, randomId, realParts } from './app/parts.ts'
import { withOwnKeys } from './app/own-keys.ts'
import { createOperationsParts } from './app/operations-parts.ts'
import { sampleIntervalMs } from './app/service-state.ts'
import { createStatusParts } from './app/status-parts.ts'
import type { Loop } from './background/loop.ts'
import { createLoops } from './background/loops.ts'
import { createPruneTasks, type PruneTasksNeeds } from './background/prune-tasks.ts'
import { createPruner } from './background/pruner.ts'
import type { Worker } from './background/worker.ts'
import { busyMs, monotonicNow, now, schedule } from './clocks.ts'
import type { Config, KeyedConfig } from './config/config.ts'
import { createWaitingClients } from './http/limits/waiting-clients.ts'
import { createServer } from './http/server.ts'
import { createNoticeMeter, createTypeLabels, recordTransition } from './app/job-telemetry.ts'
import { createMetrics, type Metrics } from './metrics.ts'
import { reportOverload, reportRateLimit } from './app/telemetry.ts'
import { processors } from './processors/registry.ts'
import { createSanitizePool } from './processors/sanitize/sanitize-pool.ts'
import type { OpenedCache } from './status/epoch/open-cache.ts'
import { databaseNameOf } from './store/open/database-url.ts'
import { DatabaseInUse } from './store/errors.ts'
import type { OpenedStore, Store } from './store/store.ts'
import { toSubmissionRules } from './app/submission-rules.ts'
import type { OnTransition } from './write/commit.ts'
import { idempotencyKeyKeptMs } from './write/submit-job.ts'

const clocks = { now, monotonicNow, random: Math.random }

const sanitizeLimits = { threads: 1, waitingMax: 100, timeoutMs: 10_000 }

/** A service that is put together and neither listens nor runs jobs yet: createLifecycle does both. */
export type App = {
  server: FastifyInstance
  /** Its store, its cache and its number of workers, for the banner and the log. */
  facts: { store: string, cache: string, workers: number }
  /** The command that prints a token for it; null: there is none here. */
  tokenCommand: string | null
  loops: readonly Loop[]
  worker: Worker
  /** From now on responses say that the process is draining, and long polls end; all requests are still answered. */
  onDraining: () => void
  /** The server is about to close: no worker is given a job any more. */
  onClosing: () => void
  /**
   * The database was replaced: ends all work but that of the server, which rejects what needs the store from now on, and
   * the cache with the view of this process. Returns what the next app has to know.
   */
  retire: () => Predecessor
  /** Releases everything that the app has opened, once the server, the worker and the loops have ended. */
  close: () => Promise<void>
}

/** An app of this process that has retired. It acts on no view any more. */
export type Predecessor = Handover & { node: string }

/** `logStream` takes the log's lines in place of standard output. `onReplaced` as for openStore. */
export type AppOptions = {
  logStream?: { write: (line: string) => void }
  parts?: Partial<Parts>
  onReplaced?: () => void
  /** The app whose place this one takes. */
  predecessor?: Predecessor | null
  /** As for createServer. */
  successor?: () => Server | null
}

// For people at this machine, and the page, which shows the state of the service to admins.
const toTokenCommand = ({ production, tokenKey }: KeyedConfig): string | null => production || tokenKey.kind !== 'secret'
  ? null
  : `${import.meta.url.endsWith('.ts') ? 'npm run --silent token --' : 'npx job-status token'} --sub me --scope "jobs:read jobs:write jobs:admin"`

type PruneNeeds = Pick<PruneTasksNeeds, 'expireResults'> &
  { config: Config, store: Store, metrics: Metrics, log: Logger, isStopping: () => boolean }

const createPrune = ({ config, store, expireResults, metrics, log, isStopping }: PruneNeeds) => {
  const { now, transact, changes, retention } = store
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
  { bodyBytesMax, rateLimitPerMinute, waitersMax }: Config, writesWaiting: () => number, metrics: Metrics, log: Logger
) => ({
  waitingClients: createWaitingClients({
    waitersMax, now, schedule, onCount: (kind, count) => { metrics.waitingClients.set({ kind }, count) }
  }),
  bodyBytesMax,
  rateLimitPerMinute,
  writesWaiting,
  busyMs,
  random: Math.random,
  onOverload: reportOverload(metrics, log, monotonicNow),
  onRateLimited: reportRateLimit(log)
})

const startCache = async (
  { start }: Pick<OpenedCache, 'start'>, close: () => Promise<void>, databaseName: string
): Promise<void> => {
  const isUsable = await start().catch(async (error: unknown) => {
    await close()
    throw error
  })
  if (isUsable) return
  await close()
  throw new DatabaseInUse(databaseName)
}

const createJobReports = (
  { jobTypes, metricsOfAllTypes }: Config, now: () => number, metrics: Metrics, log: Logger
) => {
  const typeLabels = createTypeLabels([...processors.keys(), ...jobTypes ?? []], metricsOfAllTypes)
  const notice = createNoticeMeter({ metrics, now })
  const record = recordTransition({ metrics, log, typeLabels, now })
  const onTransition: OnTransition = (job, event) => {
    record(job, event)
    notice.onTransition(job)
  }
  return { typeLabels, onTransition, onShown: notice.onShown }
}

type OpenedParts = { parts: Parts, opened: OpenedStore, predecessor: Predecessor | null }

const assemble = async (
  unkeyed: Config, { parts, opened, predecessor }: OpenedParts, { logStream = pino.destination(1), successor = () => null }: AppOptions
): Promise<App> => {
  const { databaseUrl, pruneIntervalMs, publicUrl, corsOrigins, leaseMs } = unkeyed
  const { store, store: { changes } } = opened
  const config = await withOwnKeys(unkeyed, store.transact)
  const databaseName = databaseNameOf(databaseUrl)
  const node = randomId()
  const log = pino({ level: config.logLevel }, logStream)
  for (const warning of opened.warnings) log.warn(warning)
  const metrics = createMetrics()
  const needs = { parts, config, opened, node, metrics, log }
  // Before the cache, which stays open if something fails after it.
  const follower = await changes.follow()
  const { openedCache, cacheHistory, invalidate, watch, onChanges, reads, ...status } = await createStatusParts(needs)
  const { typeLabels, onTransition, onShown } = createJobReports(config, store.now, metrics, log)
  const { worker, handOver, callbacks, rescueJobs, expireResults, ofClients } =
    createCommands({ ...needs, ...status, onTransition, predecessor })
  const sanitizePool = createSanitizePool({ ...sanitizeLimits, schedule })

  let draining = false
  const isDraining = () => draining
  const { checkStore, sample, operations } =
    createOperationsParts({ ...needs, openedCache, cacheHistory, typeLabels, isDraining })
  const limits = toLimits(config, store.writesWaiting, metrics, log)
  const tokenCommand = toTokenCommand(config)

  const server = await createServer({
    status: { ...reads, onShown, changesCursor: follower.cursor },
    commands: { ...ofClients, sanitizeNow: sanitizePool.sanitizeNow },
    submissions: toSubmissionRules(config),
    limits,
    auth: { tokens: config, now },
    operations,
    log,
    monotonicNow,
    schedule,
    publicUrl,
    corsOrigins,
    leaseMs,
    tokenCommand,
    successor
  })

  const onGap = () => { openedCache.epoch.trip(openedCache.epoch.view(), 'the change log was pruned too far') }
  const relay = parts.createRelay({ follower, invalidate, onChanges, onGap })
  const prune = createPrune({ config, store, expireResults, metrics, log, isStopping: isDraining })
  const loops = createLoops({
    relay, changes, watch, feed: reads.feed, rescueJobs, callbacks, prune, pruneIntervalMs, checkStore, sample, sampleIntervalMs, metrics, log
  })
  const stopCache = once(openedCache.stop)
  const close = createClose(stopCache, worker, sanitizePool, store)
  await startCache(openedCache, close, databaseName)

  const facts = { store: `${store.kind} (${databaseName})`, cache: openedCache.kind, workers: config.workers }
  const ends = createEnds({
    ...limits,
    ...ofClients,
    handOver,
    stops: [stopCache, ...loops.map(({ stop }) => stop)],
    onDraining: () => { draining = true }
  })
  return { server, facts, tokenCommand, loops, worker, ...ends, retire: () => ({ node, ...ends.retire() }), close }
}

/** Puts the parts together: the only place that knows them all. Throws DatabaseInUse and DatabaseUnusable. */
export const createApp = async (config: Config, options: AppOptions = {}): Promise<App> => {
  const parts: Parts = { ...realParts, ...options.parts }
  const { databaseUrl, redis } = config
  const { onReplaced = () => {}, predecessor = null } = options
  const { store, stale, ...more } =
    await parts.openStore({ databaseUrl, isCacheShared: redis !== null, ...clocks, onReplaced })
  const close = once(store.close)
  const nodes = predecessor === null ? stale.nodes : [...stale.nodes, predecessor.node]
  const opened = { ...more, store: { ...store, close }, stale: { ...stale, nodes } }
  try {
    return await assemble(config, { parts, opened, predecessor }, options)
  } catch (error) {
    await close()
    throw error
  }
}
