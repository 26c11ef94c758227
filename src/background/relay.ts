import type { JobLookup } from '../job/job.ts'
import type { Expose } from '../status/expose.ts'
import type { ChangeLog } from '../store/change-log.ts'

/*
 * Brings to the cache what no one else brings there: changes by other programs, and those of a process that was killed
 * between its commit and its expose. The database's triggers number every change whoever makes it; the relay reads on
 * from its own cursor. It is the bound of the one promise that is not immediate: such a change shows within a second,
 * usually a tenth.
 */

export const relayIntervalMs = 50
const changesAtOnceMax = 500

export type RelayNeeds = {
  changeLog: ChangeLog
  find: (jobId: string) => Promise<JobLookup>
  expose: Expose
  /** The log was pruned past the cursor: some changes will never be seen, so no cell can be believed. */
  onGap: () => void
}

/** One round: exposes every change since the last one. Returns how many changes there were. */
export type RelayOnce = () => Promise<number>

/** Begins after the newest change: an epoch that begins with the process has no older cells. */
export const createRelay = ({ changeLog, find, expose, onGap }: RelayNeeds): RelayOnce => {
  let cursor = changeLog.head()
  let seenDataVersion = -1

  const relayBatch = async (): Promise<number> => {
    const changes = changeLog.after(cursor, changesAtOnceMax)
    const last = changes.at(-1)
    if (last === undefined) return 0
    const jobIds = new Set(changes.map(change => change.jobId))
    await Promise.all([...jobIds].map(async jobId => expose(await find(jobId))))
    cursor = last.version
    return changes.length
  }

  return async () => {
    // Read before the log: a commit in between is then seen again rather than missed.
    const dataVersion = changeLog.dataVersion()
    if (dataVersion === seenDataVersion) return 0
    const oldest = changeLog.oldest() ?? changeLog.head() + 1
    if (oldest > cursor + 1) {
      onGap()
      cursor = oldest - 1
    }
    let total = 0
    for (let count = -1; count !== 0; total += count) count = await relayBatch()
    seenDataVersion = dataVersion
    return total
  }
}
