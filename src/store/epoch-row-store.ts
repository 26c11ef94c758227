import type { EpochRowStore, Transact } from './store.ts'
import {
  acknowledgeEpoch, advanceEpoch, evictNodes, joinEpoch, leaveEpoch, removeNodes, tripEpoch
} from './tx/epoch-rows.ts'

/** `read` is the database's own; `now` in ms since 1970. */
export type EpochRowStoreNeeds = { read: EpochRowStore['read'], transact: Transact, now: () => number }

/** The epoch rows with each write in its own transaction. */
export const createEpochRowStore = ({ read, transact, now }: EpochRowStoreNeeds): EpochRowStore => ({
  read,
  join: (node, name, stale) => transact(tx => joinEpoch(tx, node, name, stale, now())),
  trip: (node, seen, name, reason) => transact(tx => tripEpoch(tx, node, seen, name, reason, now())),
  acknowledge: (node, what) => transact(tx => acknowledgeEpoch(tx, node, what)),
  advance: (seen, mode, runId) => transact(tx => advanceEpoch(tx, seen, mode, runId, now())),
  evict: nodes => transact(tx => evictNodes(tx, nodes)),
  remove: nodes => transact(tx => removeNodes(tx, nodes)),
  leave: node => transact(tx => leaveEpoch(tx, node))
})
