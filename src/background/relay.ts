import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Invalidate } from '../status/expose.ts'
import type { ChangeLog } from '../store/store.ts'

/*
 * Brings to the cache what no one else brings there: changes by other programs, and those of a process that was killed
 * between its commit and its expose. The database's triggers number every change whoever makes it; the relay reads on
 * from its own cursor. It is the bound of the one promise that is not immediate: such a change shows within a second,
 * usually a tenth.
 *
 * It only outdates cells: most changed jobs have none, and reading each of them would make a bulk load by another
 * program a bulk load of ours.
 */

export const relayIntervalMs = 50
const changesAtOnceMax = 500
// A round ends now and then, so that the relay can be stopped while another program writes without pause.
const batchesMax = 20

export type RelayNeeds = {
  changeLog: ChangeLog
  invalidate: Invalidate
  /** The log was pruned past the cursor: some changes will never be seen, so no cell can be believed. */
  onGap: () => void
}

/** One round over the changes since the last one. Returns how many there were. */
export type RelayOnce = () => Promise<number>

/** Begins after the newest change: an epoch that begins with the process has no older cells. */
export const createRelay = ({ changeLog, invalidate, onGap }: RelayNeeds): RelayOnce => {
  let cursor = changeLog.head()
  let seenDataVersion = -1

  const relayBatch = async (): Promise<number> => {
    const changes = changeLog.after(cursor, changesAtOnceMax)
    const last = changes.at(-1)
    if (last === undefined) return 0
    const newest = new Map(changes.map(({ jobId, version }) => [jobId, version]))
    await Promise.all([...newest].map(([jobId, version]) => invalidate(jobId, version)))
    cursor = last.version
    return changes.length
  }

  return async () => {
    // Read before the log: a commit in between is then seen again rather than missed.
    const dataVersion = changeLog.dataVersion()
    if (dataVersion === seenDataVersion) return 0
    const head = changeLog.head()
    const oldest = changeLog.oldest() ?? head + 1
    if (oldest > cursor + 1) {
      cursor = oldest - 1
      onGap()
    }
    let total = 0
    for (let batch = 0; batch < batchesMax; batch++) {
      const count = await relayBatch()
      total += count
      if (count < changesAtOnceMax) {
        seenDataVersion = dataVersion
        break
      }
      await nextTurn()
    }
    return total
  }
}
