/*
 * The epoch: which cells of the cache are valid.
 *
 * The outcome of a failed cache command is unknown: it may have run, may still run, or never will. After one, and
 * whenever the cache may have lost or restored something (another connection, another server), the old cells are
 * invalid: a new epoch begins, whose cells are all empty, and what late commands do to the old ones has no effect.
 *
 * A cache in the memory of one process has an epoch of its own, here. Processes that share a cache agree on its epoch
 * through the database: shared-epoch.ts.
 */

/**
 * What a request may do with the cache. `on`: anything. `warm`: expose, but neither read nor fill, because another
 * process may still answer from the store alone. `off`: nothing.
 */
export type Mode = 'on' | 'warm' | 'off'
export type View = Readonly<{ epoch: string, mode: Mode }>

export type Epoch = {
  /** The view of this moment; to be read at each use. */
  view: () => View
  /** Ends the epoch of this view; does nothing if that has ended already. */
  trip: (view: View, reason: string) => void
  /**
   * For a request that would reveal something while the view is `off`. Resolves true once no process can contradict it
   * from an older view, false when the view is not `off` any more. Throws STORE_UNAVAILABLE if neither is known in
   * time.
   */
  awaitOldLeases: () => Promise<boolean>
}

/** The state of the cache, for operators. `since` in ms since 1970. */
export type EpochStatus = { mode: Mode, since: number, reason: string | null }

/** The epoch of a process whose cache is its own memory. That cannot fail, but it can have missed a change. */
export const createFixedEpoch = (randomId: () => string): Epoch => {
  const begin = (): View => Object.freeze({ epoch: randomId(), mode: 'on' })
  let view = begin()
  return {
    view: () => view,
    trip: seen => { if (seen.epoch === view.epoch) view = begin() },
    awaitOldLeases: () => Promise.resolve(false)
  }
}
