import { monotonicNow, schedule } from '../clocks.ts'
import type { OperationsNeeds } from '../http/routes/operations-routes.ts'
import type { ServiceRouteNeeds } from '../http/routes/service-routes.ts'
import { createQueueGauges, type TypeLabels } from './job-telemetry.ts'
import type { OpenedCache } from '../status/epoch/open-cache.ts'
import { createStoreCheck, toCacheHealth } from '../status/health.ts'
import { createPendingGauge, reportStoreHealth } from './telemetry.ts'
import { type CacheHistory, createServiceState } from './service-state.ts'
import type { PartNeeds } from './status-parts.ts'

type OperationsPartsNeeds = PartNeeds & {
  openedCache: OpenedCache, cacheHistory: CacheHistory['list'], typeLabels: TypeLabels, isDraining: () => boolean
}

/** What operators ask for: health, metrics, and the state of the process with an hour of samples. */
export const createOperationsParts = (
  { config, opened: { store }, node, metrics, log, openedCache, cacheHistory, typeLabels, isDraining }: OperationsPartsNeeds
) => {
  const { kind, now, jobs: { ping }, queue: { count }, callbacks: { countPending } } = store
  const { metricsToken, workers, redis } = config
  const checkStore = createStoreCheck({ kind, ping, now, onChange: reportStoreHealth(metrics, log) })
  const checkCache = () => toCacheHealth(openedCache.kind, openedCache.status())
  const refreshQueue = createQueueGauges({ count, metrics, typeLabels, now, monotonicNow, schedule })
  const refreshPending = createPendingGauge(metrics, countPending)
  const { sample, read: readService } = createServiceState({
    process: { id: node, workers },
    metrics,
    refreshQueue,
    checkStore,
    checkCache,
    cacheHistory,
    redis: () => redis === null ? null : { kind: redis.kind, isReachable: openedCache.isServerKnown() },
    isDraining,
    now
  })
  const operations: OperationsNeeds & ServiceRouteNeeds = {
    metrics,
    metricsToken,
    refreshMetrics: async () => { await Promise.all([refreshQueue(), refreshPending()]) },
    checkStore,
    checkCache,
    isDraining,
    readService
  }
  return { checkStore, sample, operations }
}
