import { ServiceFailure } from '../../errors.ts'
import type { EpochRowStore } from '../../store/store.ts'
import { type Step, nextStep } from './next-step.ts'
import { createClusterView, type ClusterView } from './cluster-view.ts'
import type { Epoch, EpochStatus } from './epoch.ts'
import { createLocalView, type LocalView } from './local-view.ts'
import { createCacheProbe, type Schedule } from './cache-probe.ts'

/*
 * The epoch of a cache that several processes share.
 *
 * They agree on it through rows of the database, which each looks at ten times a second and never for a request:
 *
 *   off    nobody uses the cache. Whoever met a failed command began this epoch, and with it new cells, all empty. Who
 *          reveals something waits until nobody can act on the epoch before; then the store answers alone.
 *   warm   every process can use this very Redis, and none acts on the old epoch: all expose what they reveal. Nobody
 *          reads or fills cells yet, for one who has not heard of it reveals without exposing.
 *   on     everybody exposes: the cache is used.
 *
 * How each knows what the others act on: epoch-sight.ts. Who writes what: epoch-deeds.ts. A process alone on its
 * database waits for nobody: off, then on. A process that starts begins an epoch too, for nobody has watched over the
 * cells since the last one ended; so does one whose Redis is not the one of the row, and since the others then hear of
 * what it can use, nobody uses a cache until all can use the same.
 *
 * The rules were model-checked: they hold under lost and late commands, empty and old restarts, partitions, pauses.
 */

const refreshMs = 100
// While requests wait for the others.
const refreshSoonMs = 20
const patienceMs = 5000
const stepsAtOnceMax = 5

export type SharedEpoch = Epoch & {
  status: () => EpochStatus
  /** The connection to the cache server was lost: whatever comes next has to show what it is. */
  disconnect: (reason: string) => void
  /** Enters this process among those on the database. Resolves once it is known whether the cache can be used. */
  start: () => Promise<void>
  /** No request may be under way any more. */
  stop: () => Promise<void>
}

export type SharedEpochNeeds = {
  /** A name that no process has had. */
  node: string
  rows: EpochRowStore
  /** Processes that are entered, and known to have ended. */
  staleNodes: readonly string[]
  /** Which cache server this is; rejects unless it can be used. */
  identify: () => Promise<string>
  randomId: () => string
  /** ms since 1970. */
  now: () => number
  /** ms of a clock that only goes forward. */
  monotonicNow: () => number
  schedule: Schedule
  onChange: (status: EpochStatus) => void
}

// Those who wait for the next look.
const createWaiters = () => {
  let waiting: Array<() => void> = []
  return {
    count: () => waiting.length,
    add: (): Promise<void> => new Promise(resolve => { waiting.push(resolve) }),
    wake: () => {
      const woken = waiting
      waiting = []
      for (const resume of woken) resume()
    }
  }
}

const createRefresh = (cluster: ClusterView, view: LocalView, wake: () => void) => () => {
  cluster.refresh()
  view.update()
  wake()
}

// Writes what there is to write, one thing after the other; whoever calls meanwhile waits for the same.
const createStepper = (findStep: () => Step | null, refresh: () => void) => {
  let acting: Promise<void> | null = null
  const act = async (): Promise<void> => {
    for (let count = 0; count < stepsAtOnceMax; count++) {
      const step = findStep()
      if (step === null) return
      await step()
      refresh()
    }
  }
  return (): Promise<void> => {
    // What could not be written is tried again after the next look.
    acting ??= act().catch(() => {}).finally(() => { acting = null })
    return acting
  }
}

type OldLeasesNeeds = Pick<SharedEpochNeeds, 'monotonicNow'> &
  { cluster: ClusterView, view: LocalView, waiters: ReturnType<typeof createWaiters>, refresh: () => void, refreshSoon: (ms: number) => void }

const createAwaitOldLeases = ({ cluster, view, waiters, refresh, refreshSoon, monotonicNow }: OldLeasesNeeds): Epoch['awaitOldLeases'] => {
  const areOldLeasesOver = (): boolean =>
    cluster.isLeaseValid() && (cluster.others().length === 0 || (cluster.epoch().mode === 'off' && cluster.isAgreed()))
  return async () => {
    const deadline = monotonicNow() + patienceMs
    // Once: those who wait are woken by each look, and would go on waking each other.
    if (!cluster.isLeaseValid()) refresh()
    for (;;) {
      if (view.current().mode !== 'off') return false
      if (areOldLeasesOver()) return true
      if (cluster.isEnded() || monotonicNow() >= deadline) {
        throw new ServiceFailure('STORE_UNAVAILABLE', 'The processes of this service cannot agree right now.', { retryAfterSeconds: 1 })
      }
      const next = waiters.add()
      if (waiters.count() === 1) refreshSoon(refreshSoonMs)
      await next
    }
  }
}

export const createSharedEpoch = (needs: SharedEpochNeeds): SharedEpoch => {
  const { node, rows, identify, monotonicNow, schedule } = needs
  const cluster = createClusterView({ node, read: rows.read, monotonicNow })
  const waiters = createWaiters()
  let isEntered = false
  let timer = { cancel: () => {} }

  const probe = createCacheProbe({
    identify,
    schedule,
    onFound: () => { void act() },
    onUnavailable: reason => { view.reportUnavailable(reason) },
    onLost: reason => { trip(view.current(), reason) }
  })
  const view = createLocalView({ ...needs, cluster, server: probe.server })
  const refresh = createRefresh(cluster, view, waiters.wake)
  const findStep = () => isEntered && !cluster.isEnded() ? nextStep({ ...needs, cluster, server: probe.server(), ended: view.ended() }) : null
  const act = createStepper(findStep, refresh)

  const refreshSoon = (ms: number) => {
    timer.cancel()
    if (cluster.isEnded()) return
    timer = schedule(() => {
      refresh()
      void act()
      refreshSoon(waiters.count() > 0 ? refreshSoonMs : refreshMs)
    }, ms)
  }

  const trip: Epoch['trip'] = (seen, reason) => {
    if (!view.end(seen, reason)) return
    probe.reset()
    void act()
  }

  const awaitOldLeases = createAwaitOldLeases({ cluster, view, waiters, refresh, refreshSoon, monotonicNow })

  return {
    view: view.current,
    trip,
    awaitOldLeases,
    status: view.status,
    disconnect: reason => {
      probe.reset()
      trip(view.current(), reason)
    },
    start: async () => {
      await rows.join(node, needs.randomId(), needs.staleNodes)
      isEntered = true
      refresh()
      refreshSoon(refreshMs)
      await probe.start()
      await act()
      // Nobody's first request waits for what an earlier process may still do.
      await awaitOldLeases().catch(() => {})
    },
    stop: async () => {
      cluster.end()
      timer.cancel()
      probe.stop()
      waiters.wake()
      await act()
      if (isEntered) await rows.leave(node).catch(() => {})
    }
  }
}
