import { reasonOf } from '../errors.ts'

/** Calls back after some ms unless cancelled. */
export type Schedule = (work: () => void, ms: number) => { cancel: () => void }

/**
 * Which cache server this process can use, asked for over and over: soon after it was lost, then less and less often,
 * and once a second while it holds.
 */
export type ServerWatch = {
  /** Its name for this run of it; null: it has not shown that it works since it was lost. */
  server: () => string | null
  /** A command failed: what the server was is not known any more. */
  lose: () => void
  /** Resolves after the first trial. */
  start: () => Promise<void>
  stop: () => void
}

export type ServerWatchNeeds = {
  /** Which cache server this is; rejects unless it can be used. */
  identify: () => Promise<string>
  schedule: Schedule
  onFound: () => void
  /** A trial failed. */
  onAway: (reason: string) => void
  /** It was there, and is not, or is another one. */
  onLost: (reason: string) => void
}

const retryMsMin = 100
const retryMsMax = 2000
const watchMs = 1000

export const createServerWatch = ({ identify, schedule, onFound, onAway, onLost }: ServerWatchNeeds): ServerWatch => {
  let server: string | null = null
  // Rises with each loss: a look that began before it proves nothing.
  let losses = 0
  let retryMs = retryMsMin
  let timer = { cancel: () => {} }
  let stopped = false

  const later = (work: () => Promise<void>, ms: number) => {
    timer.cancel()
    if (!stopped) timer = schedule(() => { void work() }, ms)
  }

  const lose = () => {
    losses += 1
    if (server === null) return
    server = null
    retryMs = retryMsMin
    later(look, retryMs)
  }

  const fail = (reason: string) => {
    const had = server !== null
    lose()
    if (had) return onLost(reason)
    onAway(reason)
    later(look, retryMs)
    retryMs = Math.min(retryMsMax, retryMs * 2)
  }

  const look = async (): Promise<void> => {
    const seen = losses
    try {
      const found = await identify()
      if (stopped) return
      if (losses !== seen) {
        // A loss of what was there has set a timer of its own.
        if (server === null) later(look, retryMs)
        return
      }
      if (server !== null && found !== server) return fail('another server')
      const isNew = server === null
      server = found
      retryMs = retryMsMin
      later(look, watchMs)
      if (isNew) onFound()
    } catch (error) {
      if (!stopped && (losses === seen || server === null)) fail(reasonOf(error))
    }
  }

  return {
    server: () => server,
    lose,
    start: look,
    stop: () => {
      stopped = true
      timer.cancel()
    }
  }
}
