import type { EpochRows, EpochRowStore } from '../../store/store.ts'

/*
 * Refreshes: reads of the rows by which processes agree on their cache.
 *
 * A refresh begins, the database reads the rows, and the answer arrives. Any time may pass in between, and refreshes
 * may overlap. Five rules make that safe, each for the reason that it states. slow-refreshes.test.ts breaks the first
 * three, one at a time, and finds a process that still uses an epoch which has ended. interleavings.test.ts breaks the
 * first and the last, and finds a reader that is shown an older version than one that was revealed before.
 *
 * 1. A lease runs from the beginning of its refresh (cluster-view.ts). Counted from the answer it would outlive the
 *    time for which other processes wait: B reads `on` and the answer is slow; A ends the epoch, waits until B's lease
 *    must be over and reveals v2; the answer gives B another lease, and B reads v1 from the cache.
 * 2. The answer to an earlier refresh is dropped once a later one was answered. Otherwise a process would return to an
 *    epoch whose end it has already acknowledged.
 * 3. The age of a mode counts from the answer that first showed it (cluster-view.ts). The mode may have begun after the
 *    refresh did, so that counted from the beginning the wait for old leases could end before they do.
 * 4. Rows, lease and view change in one call, `onRows`, in the continuation of the read itself. With one of them in a
 *    later turn of the event loop, requests in between would act on the old view under the new lease.
 * 5. A process that reveals something while its view is `off` first waits until all others have acknowledged that, or
 *    the mode has reached an age at which no older lease is left (shared-epoch.ts).
 *
 * No refresh waits for one that hangs: from `hungAfterMs` on the next one begins beside it.
 */

const hungAfterMs = 400

export type Refresh = {
  /**
   * Begins a read. Resolves true once its answer, or that of a later refresh, is in effect; false if the read fails
   * first, or `end` was called.
   */
  begin: () => Promise<boolean>
  /** Joins the latest refresh that is under way, unless it hangs; else begins one. */
  share: () => Promise<boolean>
  /** From now on nothing is read, and no answer taken. */
  end: () => void
}

/** When a refresh began, and when it was answered; ms of the monotonic clock. */
export type RefreshTimes = { beganAt: number, answeredAt: number }

export type RefreshNeeds = {
  read: EpochRowStore['read']
  /** ms of a clock that only goes forward. */
  monotonicNow: () => number
  /** Takes over rows. */
  onRows: (rows: EpochRows, times: RefreshTimes) => void
  onFailure: () => void
}

type Running = { beganAt: number, result: Promise<boolean>, resolve: (isInEffect: boolean) => void }

export const createRefresh = ({ read, monotonicNow, onRows, onFailure }: RefreshNeeds): Refresh => {
  // In the order in which they began. One that was answered takes all earlier ones with it.
  let running: Running[] = []
  let ended = false

  const begin = (): Promise<boolean> => {
    if (ended) return Promise.resolve(false)
    const { promise: result, resolve } = Promise.withResolvers<boolean>()
    const own: Running = { beganAt: monotonicNow(), result, resolve }
    running.push(own)
    read().then(rows => {
      const place = running.indexOf(own)
      if (place === -1) return
      const answered = running.splice(0, place + 1)
      onRows(rows, { beganAt: own.beganAt, answeredAt: monotonicNow() })
      for (const { resolve } of answered) resolve(true)
    }, () => {
      if (!running.includes(own)) return
      running = running.filter(other => other !== own)
      onFailure()
      resolve(false)
    })
    return result
  }

  return {
    begin,
    share: () => {
      const youngest = running.at(-1)
      return youngest !== undefined && monotonicNow() - youngest.beganAt < hungAfterMs ? youngest.result : begin()
    },
    end: () => {
      ended = true
      for (const { resolve } of running.splice(0)) resolve(false)
    }
  }
}
