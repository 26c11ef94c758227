/** Work that is repeated until it is stopped. */
export type Loop = {
  start: () => void
  /** Runs the next round now, or once the one that is running has ended. */
  wake: () => void
  /** Resolves when no round is running any more. */
  stop: () => Promise<void>
}

export type LoopNeeds = {
  /** Runs one round. A rejection is reported, and the next round follows all the same. */
  runOnce: () => Promise<unknown>
  /** Milliseconds between the end of a round and the next. */
  intervalMs: number | (() => number)
  /** Called with the first of several failures, and with null after the recovery. */
  onHealth: (error: Error | null) => void
}

export const createLoop = ({ runOnce, intervalMs, onHealth }: LoopNeeds): Loop => {
  let timer: NodeJS.Timeout | undefined
  let round: Promise<void> = Promise.resolve()
  let stopped = true
  let healthy = true
  let running = false
  let woken = false

  const run = async (): Promise<void> => {
    running = true
    woken = false
    try {
      await runOnce()
      if (!healthy) onHealth(null)
      healthy = true
    } catch (error) {
      if (healthy) onHealth(error as Error)
      healthy = false
    }
    running = false
    const pauseMs = woken ? 0 : typeof intervalMs === 'number' ? intervalMs : intervalMs()
    if (!stopped) timer = setTimeout(next, pauseMs).unref()
  }

  const next = () => { round = run() }

  return {
    start: () => {
      stopped = false
      next()
    },
    wake: () => {
      woken = true
      if (stopped || running) return
      clearTimeout(timer)
      next()
    },
    stop: async () => {
      stopped = true
      clearTimeout(timer)
      await round
    }
  }
}
