import type { EpochRowStore } from '../store/cache-epoch.ts'
import type { Sight } from './epoch-sight.ts'
import type { Trip } from './own-view.ts'

/*
 * What one process has to write next for the agreement to go on. Every process decides for itself from what it sees; the
 * rows change only from what was seen, so that of several who decide the same one succeeds and the others do nothing.
 */

export type DeedNeeds = {
  node: string
  rows: EpochRowStore
  randomId: () => string
  sight: Sight
  /** The cache server that this process can use; null: none. */
  server: string | null
  /** The epoch that this process has ended, if the rows do not say so yet. */
  ended: Trip | null
}

export type Deed = () => Promise<void>

const isAcknowledged = ({ sight, server }: DeedNeeds): boolean => {
  const own = sight.own()
  const { name, mode } = sight.epoch()
  return own?.epoch === name && (mode === 'on' || (own.mode === mode && own.runId === server))
}

// All that are known to live can use the same server; one that has not said so in time is as good as gone, and trips if
// it is not.
const isSharedByAll = ({ sight, server }: DeedNeeds): boolean => sight.others().every(({ epoch, runId, isGone }) =>
  isGone === 1 || epoch !== sight.epoch().name || runId === server)

const toAdvance = (needs: DeedNeeds): Deed | null => {
  const { sight, server, rows } = needs
  const epoch = sight.epoch()
  if (server === null || !sight.isAgreed()) return null
  if (epoch.mode === 'warm') return () => rows.advance(epoch, 'on', server)
  if (epoch.mode === 'on' || sight.phaseAgeMs() < epoch.holdMs || !isSharedByAll(needs)) return null
  return () => rows.advance(epoch, sight.others().length === 0 ? 'on' : 'warm', server)
}

/** The next thing to write; null: nothing. */
export const nextDeed = (needs: DeedNeeds): Deed | null => {
  const { node, rows, randomId, sight, server, ended } = needs
  if (!sight.isFresh() && sight.own() !== undefined) return null
  if (sight.own() === undefined) return () => rows.join(node, randomId(), [])
  if (ended !== null) return () => rows.trip(node, ended.name, randomId(), ended.reason)
  const { name, mode } = sight.epoch()
  if (sight.others().length > 0 && (!isAcknowledged(needs) || sight.isBeatDue())) {
    return () => rows.acknowledge(node, { epoch: name, mode, runId: server })
  }
  const silent = sight.silent()
  if (silent.length > 0) return () => rows.markGone(silent)
  const forgettable = sight.forgettable()
  if (forgettable.length > 0) return () => rows.forget(forgettable)
  return toAdvance(needs)
}
