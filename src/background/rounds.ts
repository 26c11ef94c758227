/** Work that is done when something may be there to do. */
export type Rounds = {
  /**
   * Begins a round, or another one after that which is under way. Resolves when no round is left; rejects if one fails,
   * which ends those that were to follow.
   */
  wake: () => Promise<void>
  /** Resolves when no round is under way. */
  ended: () => Promise<void>
}

/** `runRound` looks for work and does it; one round is under way at a time. */
export const createRounds = (runRound: () => Promise<void>): Rounds => {
  let rounds: Promise<void> | null = null
  let isDue = false

  const run = async (): Promise<void> => {
    try {
      while (isDue) {
        isDue = false
        await runRound()
      }
    } finally {
      // In the turn in which `isDue` was read: a call between the two would be lost.
      rounds = null
    }
  }

  return {
    wake: () => {
      isDue = true
      rounds ??= run()
      return rounds
    },
    ended: async () => { await rounds?.catch(() => {}) }
  }
}
