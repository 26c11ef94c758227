import type { Logger } from 'pino'
import { monotonicNow, schedule } from '../clocks.ts'
import type { KeyedConfig } from '../config/config.ts'
import { reasonOf } from '../errors.ts'
import { createStatusAccess } from '../http/status-access.ts'
import { createFollowStatus } from '../http/status-events.ts'
import type { Metrics } from '../metrics.ts'
import { createAwaitMany } from '../status/await-many.ts'
import { openCache } from '../status/epoch/open-cache.ts'
import { createFillPolicy } from '../status/fill-policy.ts'
import { createListStatuses } from '../status/read-status.ts'
import { createReadAttempts } from '../status/details/read-attempts.ts'
import { createReadCallbacks } from '../status/details/read-callbacks.ts'
import { createReadInput } from '../status/details/read-input.ts'
import { createReadResult } from '../status/details/read-result.ts'
import { createSingleFlight } from '../status/single-flight.ts'
import type { Change } from '../store/change-log.ts'
import type { OpenedStore } from '../store/store.ts'
import { reportCacheMode, reportUnread } from './telemetry.ts'
import { createViews } from '../views/views.ts'
import { type Parts, randomId } from './parts.ts'
import { createCacheHistory } from './service-state.ts'

/** What each group of parts is made of. */
export type PartNeeds = {
  parts: Parts, config: KeyedConfig, opened: OpenedStore, node: string, metrics: Metrics, log: Logger
}

const createReportedViews = (publicUrl: string | null, metrics: Metrics, log: Logger) => createViews({
  publicUrl,
  onInvalid: (jobId, error) => {
    metrics.recordsInvalid.inc()
    log.error({ jobId, err: error }, 'a record breaks BR-001 and is not shown')
  },
  onUnread: reportUnread(log, monotonicNow)
})

/** The cache, whose changes of mode are reported and kept. */
const openReportedCache = async (
  { parts, config: { redis }, opened: { store, stale, isAlone }, node, metrics, log }: PartNeeds, representation: number
) => {
  const coordination = { node, rows: store.epoch, staleNodes: stale.nodes, isAlone }
  const reportMode = reportCacheMode(metrics, log, redis?.kind ?? 'memory')
  const { list: cacheHistory, onChange } = createCacheHistory(store.now)
  const openedCache = await openCache(redis, coordination, {
    createRedisCache: parts.createRedisCache,
    incarnation: store.incarnation,
    representation,
    randomId,
    random: Math.random,
    now: store.now,
    monotonicNow,
    schedule,
    onChange: status => {
      reportMode(status)
      onChange(status)
    },
    // Not the error itself: it contains the command, and that may be AUTH.
    onError: error => { log.debug({ reason: reasonOf(error) }, 'redis') }
  })
  return { openedCache, cacheHistory }
}

/** The cache, and everything that reads. */
export const createStatusParts = async (needs: PartNeeds) => {
  const { parts, config: { publicUrl }, opened: { store }, node, metrics, log } = needs
  const { incarnation, jobs: { find, findVersion, findVersions, list } } = store
  const views = createReportedViews(publicUrl, metrics, log)
  const { openedCache, cacheHistory } = await openReportedCache(needs, views.representation)
  let tokens = 0
  const { readStatus, readMany, expose, exposeMany, invalidate, watch } = parts.createCoherence({
    cache: openedCache.cache,
    epoch: openedCache.epoch,
    views,
    find,
    findVersion,
    findVersions,
    createSingleFlight,
    fillPolicy: createFillPolicy({ monotonicNow }),
    uniqueId: () => `${node}-${++tokens}`,
    onRead: source => { metrics.statusReads.inc({ source }) }
  })
  const feed = parts.createChangeFeed({ changes: store.changes, readStatus, invalidate, monotonicNow, schedule })
  const statusAccess = createStatusAccess({
    readStatus, awaitEntry: watch.awaitEntry, incarnation, representation: views.representation, publicUrl
  })
  const { toRepresentation } = statusAccess
  return {
    openedCache,
    cacheHistory,
    expose,
    invalidate,
    watch,
    toEntry: views.toEntry,
    /** Wakes the clients that wait. */
    onChanges: (page: readonly Change[]) => {
      watch.onChanges(page)
      if (page.length > 0) feed.onChanges()
    },
    reads: {
      feed,
      incarnation,
      statusAccess,
      followStatus: createFollowStatus({ follow: watch.follow, toRepresentation, incarnation }),
      readMany,
      awaitMany: createAwaitMany(watch),
      tagPrefix: `${incarnation}.${views.representation}`,
      listStatuses: createListStatuses({ list, exposeMany }),
      readResult: createReadResult({ ...store.results, find, expose, now: store.now }),
      readAttempts: createReadAttempts({ ...store.jobs, expose }),
      readInput: createReadInput({ ...store.jobs, expose, read: store.inputs.read }),
      readCallbacks: createReadCallbacks({ ...store.jobs, expose }),
      inputs: store.inputs
    }
  }
}
