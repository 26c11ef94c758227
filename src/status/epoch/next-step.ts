import type { EpochRowStore } from '../../store/store.ts'
import type { ClusterView } from './cluster-view.ts'
import type { Trip } from './local-view.ts'

/*
 * What one process has to write next for the agreement to go on. Every process decides for itself from what it sees; the
 * rows change only from what was seen, so that of several who decide the same one succeeds and the others do nothing.
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

// All that are known to live can use the same server; one that has not said so in time is as good as gone, and trips if
// it is not.
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

/** The next thing to write; null: nothing. */
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
