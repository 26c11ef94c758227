import type { EpochRowStore } from '../../store/store.ts'
import type { ClusterView } from './cluster-view.ts'
import type { Trip } from './local-view.ts'

/*
 * What a process has to write next. Every process decides for itself from the rows that it has read. Each step takes
 * effect only if the rows are still those, so that of several processes that decide the same, one succeeds and the
 * others change nothing.
 */

export type StepNeeds = {
  node: string
  rows: EpochRowStore
  randomId: () => string
  cluster: ClusterView
  /** The cache server that this process can use; null: none. */
  server: string | null
  /** The epoch that this process has ended, if the rows do not say so yet. */
  ended: Trip | null
}

export type Step = () => Promise<void>

const isAcknowledged = ({ cluster, server }: StepNeeds): boolean => {
  const own = cluster.own()
  const { name, mode } = cluster.epoch()
  return own?.epoch === name && (mode === 'on' || (own.mode === mode && own.runId === server))
}

// All processes that are known to live can use the same server. One that has not reported that in time counts as gone,
// and trips the epoch if it is not.
const isSharedByAll = ({ cluster, server }: StepNeeds): boolean => cluster.others().every(({ epoch, runId, isGone }) =>
  isGone === 1 || epoch !== cluster.epoch().name || runId === server)

const toAdvance = (needs: StepNeeds): Step | null => {
  const { cluster, server, rows } = needs
  const epoch = cluster.epoch()
  if (server === null || !cluster.isAgreed()) return null
  if (epoch.mode === 'warm') return () => rows.advance(epoch, 'on', server)
  if (epoch.mode === 'on' || cluster.modeAgeMs() < epoch.holdMs || !isSharedByAll(needs)) return null
  return () => rows.advance(epoch, cluster.others().length === 0 ? 'on' : 'warm', server)
}

/** The next step; null: there is nothing to write. */
export const nextStep = (needs: StepNeeds): Step | null => {
  const { node, rows, randomId, cluster, server, ended } = needs
  if (!cluster.isLeaseValid() && cluster.own() !== undefined) return null
  if (cluster.own() === undefined) return () => rows.join(node, randomId(), [])
  if (ended !== null) return () => rows.trip(node, ended.name, randomId(), ended.reason)
  const { name, mode } = cluster.epoch()
  if (cluster.others().length > 0 && (!isAcknowledged(needs) || cluster.isHeartbeatDue())) {
    return () => rows.acknowledge(node, { epoch: name, mode, runId: server })
  }
  const suspected = cluster.suspected()
  if (suspected.length > 0) return () => rows.evict(suspected)
  const removable = cluster.removable()
  if (removable.length > 0) return () => rows.remove(removable)
  return toAdvance(needs)
}
