import { reasonOf } from '../errors.ts'

/*
 * Which cells may be believed.
 *
 * The outcome of a failed cache command is unknown: it may have run, may still run, or never will. After one, and
 * whenever the cache may have lost or brought back something (another connection, another server), the old cells are
 * dead: a new epoch begins, whose cells are all empty, and what late commands do to the old ones is of no concern.
 * Until the cache has shown that it works, the view is `off` and the store answers alone; waits between trials grow
 * while it keeps failing.
 *
 * This is the epoch of one process: it lives in memory and changes at once. For several processes on one database it
 * has to be agreed on through the database, and turned on by way of a warm phase; the view is the place for that.
 */

/** What one request may do with the cache. */
export type View = Readonly<{ epoch: string, mode: 'on' | 'off' }>

export type Epoch = {
  view: () => View
  /** Ends the epoch of this view; a view that is already past is ignored. */
  trip: (view: View, reason: string) => void
}

/** How the cache fares, for operators. `since` in ms since 1970. */
export type EpochStatus = { mode: 'on' | 'off', since: number, reason: string | null }

export type GuardedEpoch = Epoch & {
  status: () => EpochStatus
  /** Turns the view on once the cache answers, and keeps watching it. Resolves after the first trial. */
  start: () => Promise<void>
  stop: () => void
}

export type EpochNeeds = {
  /** Which cache server this is; rejects unless it can be used. */
  identify: () => Promise<string>
  randomId: () => string
  /** ms since 1970. */
  now: () => number
  /** Calls back after some ms unless cancelled. */
  schedule: (work: () => void, ms: number) => { cancel: () => void }
  onChange: (status: EpochStatus) => void
}

const retryMsMin = 100
const retryMsMax = 2000
const watchMs = 1000
const provenMs = 10_000

/** The epoch of a process whose cache is its own memory: it cannot fail, but it can have missed a change. */
export const createFixedEpoch = (randomId: () => string): Epoch => {
  const begin = (): View => Object.freeze({ epoch: randomId(), mode: 'on' })
  let view = begin()
  return {
    view: () => view,
    trip: seen => { if (seen.epoch === view.epoch) view = begin() }
  }
}

// The waits between trials double up to a bound.
const createBackoff = () => {
  let retryMs = retryMsMin
  return {
    reset: () => { retryMs = retryMsMin },
    next: () => {
      const waitMs = retryMs
      retryMs = Math.min(retryMsMax, retryMs * 2)
      return waitMs
    }
  }
}

/** The epoch of a process whose cache is a server that can fail in every way. Begins `off`. */
export const createEpoch = ({ identify, randomId, now, schedule, onChange }: EpochNeeds): GuardedEpoch => {
  let view: View = Object.freeze({ epoch: randomId(), mode: 'off' })
  let status: EpochStatus = { mode: 'off', since: now(), reason: 'starting' }
  let server = ''
  const backoff = createBackoff()
  let timer = { cancel: () => {} }
  let stopped = false

  const become = (next: View, reason: string | null) => {
    view = Object.freeze(next)
    if (status.mode === next.mode) return
    status = { mode: next.mode, since: now(), reason }
    onChange(status)
  }

  const later = (work: () => Promise<void>, ms: number) => {
    timer.cancel()
    if (!stopped) timer = schedule(() => { void work() }, ms)
  }

  const trip = (seen: View, reason: string) => {
    if (seen.epoch !== view.epoch || view.mode === 'off') return
    // A cache that held for a while has earned a quick trial; one that flaps waits longer each time.
    if (now() - status.since >= provenMs) backoff.reset()
    become({ epoch: randomId(), mode: 'off' }, reason)
    later(tryAgain, backoff.next())
  }

  const tryAgain = async (): Promise<void> => {
    try {
      server = await identify()
      if (stopped) return
      become({ epoch: view.epoch, mode: 'on' }, null)
      later(watch, watchMs)
    } catch (error) {
      // Said at the start, where no view was on that could be lost.
      if (status.reason === 'starting') {
        status = { ...status, reason: reasonOf(error) }
        onChange(status)
      }
      later(tryAgain, backoff.next())
    }
  }

  const watch = async (): Promise<void> => {
    const seen = view
    try {
      const found = await identify()
      // A trip meanwhile has set its own timer, for a trial.
      if (view !== seen) return
      if (found === server) later(watch, watchMs)
      else trip(seen, 'another server')
    } catch (error) {
      trip(seen, reasonOf(error))
    }
  }

  return {
    view: () => view,
    trip,
    status: () => status,
    start: tryAgain,
    stop: () => {
      stopped = true
      timer.cancel()
    }
  }
}
