import type { ClusterView } from './cluster-view.ts'
import type { EpochStatus, Mode, View } from './epoch.ts'

/** The reason if the processes are configured with different servers, which only an operator can correct. */
export const otherRedis = 'another process on this database uses another Redis'

/** An epoch that a process has ended, and why. */
export type Trip = { name: string, reason: string }

/** What one process makes of the rows: its view, and the status that it reports. */
export type LocalView = {
  /** `off` as soon as the lease on the rows is over. */
  current: () => View
  /** To be called after each refresh. */
  update: () => void
  /** Ends the epoch of a view for this process; false: that has ended already, or is off. */
  end: (seen: View, reason: string) => boolean
  /** The epoch that this process has ended, while the rows do not say so yet. */
  ended: () => Trip | null
  status: () => EpochStatus
  /**
   * The server cannot be used. Reported at the start, when no view has been on that could be lost, and when its
   * operator is needed.
   */
  reportUnavailable: (reason: string, needsOperator: boolean) => void
}

export type LocalViewNeeds = {
  cluster: ClusterView
  /** The cache server that this process can use; null: none. */
  server: () => string | null
  /** ms since 1970. */
  now: () => number
  onChange: (status: EpochStatus) => void
}

const starting = 'starting'

const createStatus = (now: () => number, onChange: (status: EpochStatus) => void) => {
  let status: EpochStatus = { mode: 'off', since: now(), reason: starting }
  let isOperatorAsked = false
  return {
    get: () => status,
    /** The first reason of a mode stays. One that needs the operator replaces it, and is reported once. */
    become: (mode: Mode, reason: string | null, needsOperator = reason === otherRedis) => {
      if (mode === status.mode &&
        (reason === status.reason || (!needsOperator && status.reason !== starting))) return
      const isReported = mode === status.mode && needsOperator && isOperatorAsked
      isOperatorAsked = needsOperator
      status = { mode, since: mode === status.mode ? status.since : now(), reason }
      if (!isReported) onChange(status)
    }
  }
}

export const createLocalView = ({ cluster, server, now, onChange }: LocalViewNeeds): LocalView => {
  const status = createStatus(now, onChange)
  const offView = (): View => Object.freeze({ epoch: cluster.epoch().name, mode: 'off' })
  let view = offView()
  let offOfView = view
  let lastEnded: Trip | null = null

  const ended = (): Trip | null => lastEnded?.name === cluster.epoch().name ? lastEnded : null

  const endIfUnusable = () => {
    const { name, mode, runId } = cluster.epoch()
    if (mode === 'off' || cluster.own() === undefined || ended() !== null || runId === server()) return
    lastEnded = { name, reason: server() === null ? 'Redis cannot be used' : otherRedis }
  }

  const isServerContested = (): boolean => server() !== null && cluster.others().some(({ epoch, runId }) =>
    epoch === cluster.epoch().name && runId !== null && runId !== server())

  const reasonOff = (): string | null => {
    if (isServerContested()) return otherRedis
    if (cluster.own() !== undefined && !cluster.isLeaseValid()) {
      return 'the database cannot be read, so the cache may not be used'
    }
    return ended()?.reason ?? cluster.epoch().reason
  }

  const update = () => {
    endIfUnusable()
    const { name } = cluster.epoch()
    const mode: Mode = ended() !== null || cluster.own() === undefined ? 'off' : cluster.epoch().mode
    if (name !== view.epoch || mode !== view.mode) {
      view = Object.freeze({ epoch: name, mode })
      offOfView = mode === 'off' ? view : offView()
    }
    if (cluster.isLeaseValid() && mode !== 'off') return status.become(mode, null)
    const reason = reasonOff()
    // A cache that was not on yet is starting, not off.
    if (status.get().reason !== starting || reason === otherRedis) status.become('off', reason)
  }

  return {
    current: () => cluster.isLeaseValid() ? view : offOfView,
    update,
    end: (seen, reason) => {
      const { name, mode } = cluster.epoch()
      if (seen.epoch !== name || mode === 'off' || ended() !== null) return false
      lastEnded = { name, reason }
      update()
      return true
    },
    ended,
    status: status.get,
    reportUnavailable: (reason, needsOperator) => {
      const { mode, reason: earlier } = status.get()
      if (earlier === starting || (mode === 'off' && needsOperator)) status.become('off', reason, needsOperator)
    }
  }
}
