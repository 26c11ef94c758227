import { CacheUnusable } from '../../cache/status-cache.ts'
import { reasonOf } from '../../errors.ts'
import type { Schedule } from '../../schedule.ts'

/**
 * Finds out which cache server this process can use: soon after it was lost, then less and less often, and once a
 * second while it answers.
 */
export type CacheProbe = {
  /** The id of the server's current run; null: no probe has succeeded since it was lost. */
  server: () => string | null
  /** A command failed: from now on the server is unknown. */
  reset: () => void
  /** Resolves after the first probe. */
  start: () => Promise<void>
  stop: () => void
}

export type CacheProbeNeeds = {
  /** Which cache server this is; rejects unless it can be used. */
  identify: () => Promise<string>
  schedule: Schedule
  onFound: () => void
  /** A probe failed; `needsOperator`: so will every other until the operator of the server has changed something. */
  onUnavailable: (reason: string, needsOperator: boolean) => void
  /** The server was known, and does not answer now or is another one. */
  onLost: (reason: string) => void
}

const retryMsMin = 100
const retryMsMax = 2000
const probeIntervalMs = 1000

export const createCacheProbe = ({
  identify, schedule, onFound, onUnavailable, onLost
}: CacheProbeNeeds): CacheProbe => {
  let server: string | null = null
  // Rises with each loss: a probe that began before proves nothing.
  let losses = 0
  let retryMs = retryMsMin
  let timer = { cancel: () => {} }
  let stopped = false

  const later = (work: () => Promise<void>, ms: number) => {
    timer.cancel()
    if (!stopped) timer = schedule(() => { void work() }, ms)
  }

  const reset = () => {
    losses += 1
    if (server === null) return
    server = null
    retryMs = retryMsMin
    later(probe, retryMs)
  }

  const fail = (reason: string, needsOperator = false) => {
    const wasKnown = server !== null
    reset()
    if (wasKnown) return onLost(reason)
    onUnavailable(reason, needsOperator)
    later(probe, retryMs)
    retryMs = Math.min(retryMsMax, retryMs * 2)
  }

  const probe = async (): Promise<void> => {
    const seen = losses
    try {
      const found = await identify()
      if (stopped) return
      if (losses !== seen) {
        // The loss of a known server has set a timer already.
        if (server === null) later(probe, retryMs)
        return
      }
      if (server !== null && found !== server) return fail('another server')
      const isNew = server === null
      server = found
      retryMs = retryMsMin
      later(probe, probeIntervalMs)
      if (isNew) onFound()
    } catch (error) {
      if (stopped || (losses !== seen && server !== null)) return
      fail(reasonOf(error), error instanceof CacheUnusable)
    }
  }

  return {
    server: () => server,
    reset,
    start: probe,
    stop: () => {
      stopped = true
      timer.cancel()
    }
  }
}
