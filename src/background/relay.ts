import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Invalidate } from '../status/expose.ts'
import type { Change, Follower } from '../store/change-log.ts'

/*
 * Invalidates the cells of jobs that changed without an expose: other programs changed them, or a process was killed
 * between its commit and its expose. The database's triggers log every change no matter which program makes it, and
 * the relay follows that log. It bounds the one guarantee that is not immediate: such a change is visible within a
 * second, usually within 100 ms.
 *
 * It invalidates and does not fill. Most changed jobs have no cell, and to read each of them would turn another
 * program's bulk load into one of ours.
 */

/** The pause between two reads of the log. */
export const relayIntervalMs = 50
/** The same while clients wait for changes: they are to be notified within 50 ms. */
export const relayIntervalMsOfWaits = 10
const changesAtOnceMax = 500
// A round ends at this many pages, so that the relay can be stopped while another program writes without pause.
const pagesMax = 20

export type RelayNeeds = {
  /** Begins after the newest change: an epoch that begins with the process has no older cells. */
  follower: Follower
  invalidate: Invalidate
  /** Called with the changes of a page once their cells are invalidated. */
  onChanges: (changes: readonly Change[]) => void
  /** The log was pruned before the relay had read it. Changes are missed for good, so no cell is valid any more. */
  onGap: () => void
}

/** Runs one round over the changes since the last one. Returns how many there were. Throws STORE_UNAVAILABLE. */
export type RelayOnce = () => Promise<number>

export const createRelay = ({ follower, invalidate, onChanges, onGap }: RelayNeeds): RelayOnce => async () => {
  let total = 0
  for (let page = 0; page < pagesMax; page++) {
    const { changes, isGap, isLast } = await follower.next(changesAtOnceMax)
    if (isGap) onGap()
    const newest = new Map<string, number>()
    for (const { jobId, version } of changes) newest.set(jobId, Math.max(version, newest.get(jobId) ?? 0))
    await Promise.all([...newest].map(([jobId, version]) => invalidate(jobId, version)))
    follower.accept()
    onChanges(changes)
    total += changes.length
    if (isLast) break
    await nextTurn()
  }
  return total
}
