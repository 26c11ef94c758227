import type { EpochRow, EpochRows, NodeRow } from '../../store/store.ts'
import type { RefreshTimes } from './refresh.ts'

/*
 * What one process sees of the agreement, and how long it may act on it.
 *
 * Reading the rows gives a lease: for `viewLeaseMs` from the beginning of the read a process may act on what it saw, by
 * its own clock and with nothing written. So a process that has seen a change knows without a message from any other
 * that after `oldLeasesOverMs` none acts on what was before. Acknowledgements only shorten that wait. They count for
 * processes that are entered, and a process that is not entered any more acts on nothing. A process is removed only
 * after it has been marked for longer than a lease, so that no view of its own outlives its row.
 */

/** How long a process may act on what it read. */
const viewLeaseMs = 1000
/** How long after a change no process acts on what was before: a lease, and a margin for clocks of different speed. */
const oldLeasesOverMs = 1100

// How long a process may write nothing before the others suspect it. While the cache is in use no process waits for
// another, so that it may be long.
const suspectAfterMs = { on: 20_000, warm: 3000, off: 3000 }
const heartbeatMs = { on: 5000, warm: 1000, off: 1000 }

export type ClusterView = {
  /** Takes over rows that a refresh has read. */
  observe: (rows: EpochRows, times: RefreshTimes) => void
  /** Whether this process may still act on what it read. */
  isLeaseValid: () => boolean
  /** From now on this process may act on nothing. */
  end: () => void
  isEnded: () => boolean
  epoch: () => EpochRow
  own: () => NodeRow | undefined
  others: () => readonly NodeRow[]
  /** How long ago this process first saw this mode of this epoch, in ms. */
  modeAgeMs: () => number
  /** Whether no process acts on anything older than what was read. */
  isAgreed: () => boolean
  /** Whether this process should write something, because others would suspect it otherwise. */
  isHeartbeatDue: () => boolean
  /** Others that have written nothing for too long. */
  suspected: () => NodeRow[]
  /** Others that were marked more than a lease ago, and so hold no view any more. */
  removable: () => NodeRow[]
}

export type ClusterViewNeeds = {
  node: string
  /** ms of a clock that only goes forward. */
  monotonicNow: () => number
}

const nothing: EpochRow = { name: '', mode: 'off', runId: null, reason: null, changedAt: 0, holdMs: 0, flaps: 0 }

/** Remembers since when each row is as it is, in ms of the monotonic clock. */
const createHeartbeats = (monotonicNow: () => number) => {
  let lastHeartbeats = new Map<string, { beat: number, isGone: number, since: number }>()
  return {
    observe: (rows: readonly NodeRow[]) => {
      const at = monotonicNow()
      lastHeartbeats = new Map(rows.map(({ node, beat, isGone }) => {
        const known = lastHeartbeats.get(node)
        const isSame = known?.beat === beat && known.isGone === isGone
        return [node, isSame ? known : { beat, isGone, since: at }]
      }))
    },
    since: (node: string): number => lastHeartbeats.get(node)?.since ?? monotonicNow()
  }
}

export const createClusterView = ({ node, monotonicNow }: ClusterViewNeeds): ClusterView => {
  let epoch = nothing
  let own: NodeRow | undefined
  let others: readonly NodeRow[] = []
  let leaseUntil = -Infinity
  let modeSeenAt = -Infinity
  let ended = false
  const heartbeats = createHeartbeats(monotonicNow)

  const acknowledges = (row: NodeRow) => row.epoch === epoch.name && row.mode === epoch.mode
  const modeAgeMs = () => monotonicNow() - modeSeenAt
  const silentMs = (node: string) => monotonicNow() - heartbeats.since(node)

  return {
    observe: (rows, { beganAt, answeredAt }) => {
      if (rows.epoch.name !== epoch.name || rows.epoch.mode !== epoch.mode) modeSeenAt = answeredAt
      epoch = rows.epoch
      own = rows.nodes.find(row => row.node === node && row.isGone === 0)
      others = rows.nodes.filter(row => row.node !== node)
      heartbeats.observe(rows.nodes)
      leaseUntil = own === undefined ? -Infinity : beganAt + viewLeaseMs
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
    isHeartbeatDue: () => others.length > 0 && silentMs(node) >= heartbeatMs[epoch.mode],
    suspected: () => others.filter(({ node, isGone }) =>
      isGone === 0 && Math.min(silentMs(node), modeAgeMs()) >= suspectAfterMs[epoch.mode]),
    removable: () => others.filter(({ node, isGone }) => isGone === 1 && silentMs(node) >= oldLeasesOverMs)
  }
}
