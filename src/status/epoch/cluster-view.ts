import type { EpochRow, EpochRowStore, NodeRow } from '../../store/store.ts'

/*
 * What one process sees of the agreement, and for how long it may act on it.
 *
 * A look at the rows is a lease: for `viewLeaseMs` from its beginning a process may act on what it saw, by its own clock
 * and with nothing written. So whoever has seen a change knows without anybody's word that after `oldViewsGoneMs` nobody
 * acts on what was before it. Acknowledgements only shorten that wait; they count for those alone who are entered, and
 * a process that is not entered any more acts on nothing. Who is taken out has first been marked for longer than a
 * lease, so that no view of its own outlives its row.
 */

/** How long a process may act on what it read. */
const viewLeaseMs = 1000
/** How long after a change nobody acts on what was before: a lease, and something for clocks that differ in speed. */
const oldLeasesOverMs = 1100

// How long a process may be silent. While the cache is in use nobody waits for anybody, so it may be long.
const suspectAfterMs = { on: 20_000, warm: 3000, off: 3000 }
const heartbeatMs = { on: 5000, warm: 1000, off: 1000 }

export type ClusterView = {
  /** Reads the rows; false: they cannot be read now. */
  refresh: () => boolean
  /** Whether what was read may still be acted on. */
  isLeaseValid: () => boolean
  /** From now on nothing may be acted on. */
  end: () => void
  isEnded: () => boolean
  epoch: () => EpochRow
  own: () => NodeRow | undefined
  others: () => readonly NodeRow[]
  /** How long ago this process first saw this mode of this epoch, in ms. */
  modeAgeMs: () => number
  /** Nobody acts on anything older than what is seen. */
  isAgreed: () => boolean
  /** This process should write something, or others will take it for dead. */
  isHeartbeatDue: () => boolean
  /** Others that have been silent for too long. */
  suspected: () => NodeRow[]
  /** Others that have been marked for so long that they hold no view any more. */
  removable: () => NodeRow[]
}

export type ClusterViewNeeds = {
  node: string
  read: EpochRowStore['read']
  /** ms of a clock that only goes forward. */
  monotonicNow: () => number
}

const nothing: EpochRow = { name: '', mode: 'off', runId: null, reason: null, changedAt: 0, holdMs: 0, flaps: 0 }

/** Since when others are as they are: `since` in ms of the monotonic clock. */
const createHeartbeats = (monotonicNow: () => number) => {
  let observed = new Map<string, { beat: number, isGone: number, since: number }>()
  return {
    observe: (rows: readonly NodeRow[]) => {
      const at = monotonicNow()
      observed = new Map(rows.map(({ node, beat, isGone }) => {
        const known = observed.get(node)
        const isSame = known?.beat === beat && known.isGone === isGone
        return [node, isSame ? known : { beat, isGone, since: at }]
      }))
    },
    since: (node: string): number => observed.get(node)?.since ?? monotonicNow()
  }
}

export const createClusterView = ({ node, read, monotonicNow }: ClusterViewNeeds): ClusterView => {
  let epoch = nothing
  let own: NodeRow | undefined
  let others: readonly NodeRow[] = []
  let leaseUntil = -Infinity
  let modeSeenAt = -Infinity
  let ended = false
  const heartbeats = createHeartbeats(monotonicNow)

  const acknowledges = (row: NodeRow) => row.epoch === epoch.name && row.mode === epoch.mode
  const modeAgeMs = () => monotonicNow() - modeSeenAt

  return {
    refresh: () => {
      if (ended) return false
      const began = monotonicNow()
      try {
        const rows = read()
        if (rows.epoch.name !== epoch.name || rows.epoch.mode !== epoch.mode) modeSeenAt = monotonicNow()
        epoch = rows.epoch
        own = rows.nodes.find(row => row.node === node && row.isGone === 0)
        others = rows.nodes.filter(row => row.node !== node)
        heartbeats.observe(rows.nodes)
        leaseUntil = own === undefined ? -Infinity : began + viewLeaseMs
        return true
      } catch {
        return false
      }
    },
    isLeaseValid: () => monotonicNow() < leaseUntil,
    end: () => {
      ended = true
      leaseUntil = -Infinity
    },
    isEnded: () => ended,
    epoch: () => epoch,
    own: () => own,
    others: () => others,
    modeAgeMs,
    isAgreed: () => others.every(acknowledges) || modeAgeMs() >= oldLeasesOverMs,
    isHeartbeatDue: () => others.length > 0 && monotonicNow() - heartbeats.since(node) >= heartbeatMs[epoch.mode],
    suspected: () => others.filter(row =>
      row.isGone === 0 && Math.min(monotonicNow() - heartbeats.since(row.node), modeAgeMs()) >= suspectAfterMs[epoch.mode]),
    removable: () => others.filter(row => row.isGone === 1 && monotonicNow() - heartbeats.since(row.node) >= oldLeasesOverMs)
  }
}
