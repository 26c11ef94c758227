import type { EpochRow, EpochRowStore, NodeRow } from '../store/cache-epoch.ts'

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
const oldViewsGoneMs = 1100

// How long a process may be silent. While the cache is in use nobody waits for anybody, so it may be long.
const silentMsMax = { on: 20_000, warm: 3000, off: 3000 }
const beatMs = { on: 5000, warm: 1000, off: 1000 }

export type Sight = {
  /** Reads the rows; false: they cannot be read now. */
  look: () => boolean
  /** Whether what was read may still be acted on. */
  isFresh: () => boolean
  /** The lease begins anew though nothing was read: to be called only by one who knows that nobody else is there. */
  prolong: () => void
  /** From now on nothing may be acted on. */
  end: () => void
  isEnded: () => boolean
  epoch: () => EpochRow
  own: () => NodeRow | undefined
  others: () => readonly NodeRow[]
  /** How long ago this process first saw this mode of this epoch, in ms. */
  phaseAgeMs: () => number
  /** Nobody acts on anything older than what is seen. */
  isAgreed: () => boolean
  /** This process should write something, or others will take it for dead. */
  isBeatDue: () => boolean
  /** Others that have been silent for too long. */
  silent: () => NodeRow[]
  /** Others that have been marked for so long that they hold no view any more. */
  forgettable: () => NodeRow[]
}

export type SightNeeds = {
  node: string
  read: EpochRowStore['read']
  /** ms of a clock that only goes forward. */
  monotonicNow: () => number
}

const nothing: EpochRow = { name: '', mode: 'off', runId: null, reason: null, changedAt: 0, holdMs: 0, flaps: 0 }

/** Since when others are as they are: `since` in ms of the monotonic clock. */
const createHeard = (monotonicNow: () => number) => {
  let heard = new Map<string, { beat: number, isGone: number, since: number }>()
  return {
    hear: (rows: readonly NodeRow[]) => {
      const at = monotonicNow()
      heard = new Map(rows.map(({ node, beat, isGone }) => {
        const known = heard.get(node)
        const isSame = known?.beat === beat && known.isGone === isGone
        return [node, isSame ? known : { beat, isGone, since: at }]
      }))
    },
    since: (node: string): number => heard.get(node)?.since ?? monotonicNow()
  }
}

export const createSight = ({ node, read, monotonicNow }: SightNeeds): Sight => {
  let epoch = nothing
  let own: NodeRow | undefined
  let others: readonly NodeRow[] = []
  let leaseUntil = -Infinity
  let phaseSeenAt = -Infinity
  let ended = false
  const heard = createHeard(monotonicNow)

  const acknowledges = (row: NodeRow) => row.epoch === epoch.name && row.mode === epoch.mode
  const phaseAgeMs = () => monotonicNow() - phaseSeenAt

  return {
    look: () => {
      if (ended) return false
      const began = monotonicNow()
      try {
        const rows = read()
        if (rows.epoch.name !== epoch.name || rows.epoch.mode !== epoch.mode) phaseSeenAt = monotonicNow()
        epoch = rows.epoch
        own = rows.nodes.find(row => row.node === node && row.isGone === 0)
        others = rows.nodes.filter(row => row.node !== node)
        heard.hear(rows.nodes)
        leaseUntil = own === undefined ? -Infinity : began + viewLeaseMs
        return true
      } catch {
        return false
      }
    },
    isFresh: () => monotonicNow() < leaseUntil,
    prolong: () => { if (!ended) leaseUntil = monotonicNow() + viewLeaseMs },
    end: () => {
      ended = true
      leaseUntil = -Infinity
    },
    isEnded: () => ended,
    epoch: () => epoch,
    own: () => own,
    others: () => others,
    phaseAgeMs,
    isAgreed: () => others.every(acknowledges) || phaseAgeMs() >= oldViewsGoneMs,
    isBeatDue: () => others.length > 0 && monotonicNow() - heard.since(node) >= beatMs[epoch.mode],
    silent: () => others.filter(row =>
      row.isGone === 0 && Math.min(monotonicNow() - heard.since(row.node), phaseAgeMs()) >= silentMsMax[epoch.mode]),
    forgettable: () => others.filter(row => row.isGone === 1 && monotonicNow() - heard.since(row.node) >= oldViewsGoneMs)
  }
}
