import { ServiceFailure } from '../../errors.ts'
import type { Schedule } from '../../schedule.ts'
import type { EpochRowStore, NodeRow } from '../../store/store.ts'
import { createCacheProbe } from './cache-probe.ts'
import { type ClusterView, createClusterView } from './cluster-view.ts'
import type { Epoch, EpochStatus } from './epoch.ts'
import { createLocalView, type LocalView } from './local-view.ts'
import { nextStep, type Step } from './next-step.ts'
import type { Refresh, RefreshNeeds } from './refresh.ts'

/*
 * The epoch of a cache that several processes share.
 *
 * They agree on it through rows of the database, which each process reads ten times a second and never for a request:
 *
 *   off    No process uses the cache. The process that met a failed command began this epoch, and with it new cells,
 *          all empty. A process that reveals something waits until none can act on the epoch before; then the store
 *          answers alone.
 *   warm   Every process can use this very Redis, and none acts on the old epoch: all expose what they reveal. None
 *          reads or fills cells yet, because a process that still sees `off` reveals without exposing.
 *   on     Every process exposes, so the cache is used.
 *
 * refresh.ts: when an answer to a read may be acted on. cluster-view.ts: how a process knows what the others act on.
 * next-step.ts: which process writes what. A process alone on its database waits for no other: off, then on. A process
 * that starts begins an epoch too, because no process has watched over the cells since the last one ended. So does a
 * process whose Redis is not the one of the row; the others then read in its row which Redis it can use, and none uses
 * a cache until all can use the same one.
 *
 * The rules were model-checked: they hold under lost and late commands, empty and old restarts, partitions and pauses.
 */

const refreshMs = 100
// While requests wait for other processes.
const refreshSoonMs = 20
const patienceMs = 5000
const stepsAtOnceMax = 5

export type SharedEpoch = Epoch & {
  status: () => EpochStatus
  /** The other processes that have acknowledged this epoch, each with the cache server that it can use. */
  others: () => readonly Pick<NodeRow, 'node' | 'runId'>[]
  /** Whether this process can use its cache server. */
  isServerKnown: () => boolean
  /** The connection to the cache server was lost: the next one has to show which server it leads to. */
  disconnect: (reason: string) => void
  /** Enters this process among those on the database. Resolves once it is known whether the cache can be used. */
  start: () => Promise<void>
  /** To be called when no request is under way any more. */
  stop: () => Promise<void>
}

export type SharedEpochNeeds = {
  /** A name that no process has had. */
  node: string
  rows: EpochRowStore
  createRefresh: (needs: RefreshNeeds) => Refresh
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

/** Requests that wait for the end of the next refresh. */
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

const openRefresh = (
  { createRefresh, rows, monotonicNow }: SharedEpochNeeds, cluster: ClusterView, view: LocalView, wake: () => void
): Refresh => {
  const update = () => {
    view.update()
    wake()
  }
  return createRefresh({
    read: rows.read,
    monotonicNow,
    onRows: (rows, times) => {
      cluster.observe(rows, times)
      update()
    },
    onFailure: update
  })
}

/** Writes the steps that are due, one after the other. A call in the meantime waits for the same. */
const createStepper = (findStep: () => Step | null, refresh: Refresh['begin']) => {
  let acting: Promise<void> | null = null
  const act = async (): Promise<void> => {
    for (let count = 0; count < stepsAtOnceMax; count++) {
      const step = findStep()
      if (step === null) return
      await step()
      // One that began before the step was written may not have seen it.
      if (!await refresh()) return
    }
  }
  return (): Promise<void> => {
    // A step that could not be written is tried again after the next refresh.
    acting ??= act().catch(() => {}).finally(() => { acting = null })
    return acting
  }
}

type OldLeasesNeeds = {
  monotonicNow: () => number
  cluster: ClusterView
  view: LocalView
  waiters: ReturnType<typeof createWaiters>
  refresh: Refresh
  refreshSoon: (ms: number) => void
}

const createAwaitOldLeases = ({
  monotonicNow, cluster, view, waiters, refresh, refreshSoon
}: OldLeasesNeeds): Epoch['awaitOldLeases'] => {
  const areOldLeasesOver = (): boolean =>
    cluster.isLeaseValid() && (cluster.others().length === 0 || (cluster.epoch().mode === 'off' && cluster.isAgreed()))
  return async () => {
    const deadline = monotonicNow() + patienceMs
    // Once: each refresh wakes all requests that wait, which would make each of them begin another one.
    if (!cluster.isLeaseValid()) await refresh.share()
    for (;;) {
      if (view.current().mode !== 'off') return false
      if (areOldLeasesOver()) return true
      if (cluster.isEnded() || monotonicNow() >= deadline) {
        throw new ServiceFailure(
          'STORE_UNAVAILABLE', 'The service instances could not coordinate in time. Retry later.',
          { retryAfterSeconds: 1 }
        )
      }
      const next = waiters.add()
      if (waiters.count() === 1) refreshSoon(refreshSoonMs)
      await next
    }
  }
}

/** Refreshes and steps at regular times, sooner on demand. */
const createTimer = (schedule: Schedule, onTime: () => void, intervalMs: () => number) => {
  let timer = { cancel: () => {} }
  let stopped = false
  const refreshSoon = (ms: number): void => {
    timer.cancel()
    if (stopped) return
    timer = schedule(() => {
      onTime()
      refreshSoon(intervalMs())
    }, ms)
  }
  const stop = () => {
    stopped = true
    timer.cancel()
  }
  return { refreshSoon, stop }
}

type TickNeeds = { cluster: ClusterView, view: LocalView, refresh: Refresh, act: () => Promise<void> }

/**
 * Refreshes and steps. Also updates the view although no answer has come: a read that hangs must not leave the status
 * at `on` for longer than the cache may be used. Only if the lease was over one tick before as well: after a
 * standstill of this process itself, the answer is on its way.
 */
const createTick = ({ cluster, view, refresh, act }: TickNeeds): (() => void) => {
  let wasOver = false
  return () => {
    const isOver = !cluster.isLeaseValid()
    if (isOver && wasOver) view.update()
    wasOver = isOver
    void refresh.share().then(act)
  }
}

export const createSharedEpoch = (needs: SharedEpochNeeds): SharedEpoch => {
  const { node, rows, identify, monotonicNow, schedule } = needs
  const cluster = createClusterView({ node, monotonicNow })
  const waiters = createWaiters()
  let isEntered = false

  const probe = createCacheProbe({
    identify,
    schedule,
    onFound: () => { void act() },
    onUnavailable: (reason, needsOperator) => { view.reportUnavailable(reason, needsOperator) },
    onLost: reason => { trip(view.current(), reason) }
  })
  const view = createLocalView({ ...needs, cluster, server: probe.server })
  const refresh = openRefresh(needs, cluster, view, waiters.wake)
  const findStep = () => isEntered && !cluster.isEnded()
    ? nextStep({ ...needs, cluster, server: probe.server(), ended: view.ended() })
    : null
  const act = createStepper(findStep, refresh.begin)
  const { refreshSoon, stop: stopTimer } = createTimer(
    schedule,
    createTick({ cluster, view, refresh, act }),
    () => waiters.count() > 0 ? refreshSoonMs : refreshMs
  )

  const trip: Epoch['trip'] = (seen, reason) => {
    if (!view.end(seen, reason)) return
    probe.reset()
    void act()
  }

  const awaitOldLeases = createAwaitOldLeases({ monotonicNow, cluster, view, waiters, refresh, refreshSoon })

  return {
    view: view.current,
    trip,
    awaitOldLeases,
    status: view.status,
    others: () => cluster.others().filter(({ epoch }) => epoch === cluster.epoch().name),
    isServerKnown: () => probe.server() !== null,
    disconnect: reason => {
      probe.reset()
      trip(view.current(), reason)
    },
    start: async () => {
      await rows.join(node, needs.randomId(), needs.staleNodes)
      isEntered = true
      refreshSoon(refreshMs)
      await refresh.begin()
      await probe.start()
      await act()
      // So that the first request does not wait for what an earlier process may still do.
      await awaitOldLeases().catch(() => {})
    },
    stop: async () => {
      cluster.end()
      refresh.end()
      stopTimer()
      probe.stop()
      waiters.wake()
      await act()
      if (isEntered) await rows.leave(node).catch(() => {})
    }
  }
}
