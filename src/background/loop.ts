/** Work that is done over and over until stopped. */
export type Loop = {
  start: () => void
  /** Resolves when no round is under way any more. */
  stop: () => Promise<void>
}

export type LoopNeeds = {
  /** One round. A rejection is reported, and the next round comes all the same. */
  runOnce: () => Promise<unknown>
  /** Milliseconds between the end of a round and the next. */
  intervalMs: number
  /** Told of the first failure in a row, and (with null) of the recovery. */
  onHealth: (error: Error | null) => void
}

export const createLoop = ({ runOnce, intervalMs, onHealth }: LoopNeeds): Loop => {
  let timer: NodeJS.Timeout | undefined
  let round: Promise<void> = Promise.resolve()
  let stopped = true
  let healthy = true

  const run = async (): Promise<void> => {
    try {
      await runOnce()
      if (!healthy) onHealth(null)
      healthy = true
    } catch (error) {
      if (healthy) onHealth(error as Error)
      healthy = false
    }
    if (!stopped) timer = setTimeout(next, intervalMs).unref()
  }

  const next = () => { round = run() }

  return {
    start: () => {
      stopped = false
      next()
    },
    stop: async () => {
      stopped = true
      clearTimeout(timer)
      await round
    }
  }
}
