/*
 * Which cells may be believed.
 *
 * The outcome of a failed cache command is unknown: it may have run, may still run, or never will. After one, and
 * whenever the cache may have lost or brought back something (another connection, another server), the old cells are
 * dead: a new epoch begins, whose cells are all empty, and what late commands do to the old ones is of no concern.
 *
 * A cache in the memory of one process has an epoch of its own, here. For one that processes share, the epoch is agreed
 * on through the database: shared-epoch.ts.
 */

/**
 * What one request may do with the cache. `on`: anything. `warm`: expose, but neither read nor fill, since some process
 * may still answer from the store alone. `off`: nothing.
 */
export type Mode = 'on' | 'warm' | 'off'
export type View = Readonly<{ epoch: string, mode: Mode }>

export type Epoch = {
  /** To be asked for anew at each use. */
  view: () => View
  /** Ends the epoch of this view; a view that is already past is ignored. */
  trip: (view: View, reason: string) => void
  /**
   * For one who would reveal something while the view is `off`: resolves true once nobody can contradict it from an older
   * view; false when the view is not `off` any more. Throws STORE_UNAVAILABLE where that cannot be known in time.
   */
  awaitOldLeases: () => Promise<boolean>
}

/** How the cache fares, for operators. `since` in ms since 1970. */
export type EpochStatus = { mode: Mode, since: number, reason: string | null }

/** The epoch of a process whose cache is its own memory: it cannot fail, but it can have missed a change. */
export const createFixedEpoch = (randomId: () => string): Epoch => {
  const begin = (): View => Object.freeze({ epoch: randomId(), mode: 'on' })
  let view = begin()
  return {
    view: () => view,
    trip: seen => { if (seen.epoch === view.epoch) view = begin() },
    awaitOldLeases: () => Promise.resolve(false)
  }
}
