import { isUnavailable } from '../../errors.ts'
import type { LostTime } from '../../store/tx/lost-time.ts'

/*
 * Measures for how long this process could not commit, because another program held the database, the disk was full or
 * away, or the process itself was suspended. A worker's report that was due in such a time could not be recorded, so
 * the time must not count against its lease. Each process knows only its own outages. A lock on the database stops all
 * of them alike, and all see it within `probeMs`, since each probes while jobs are running.
 */

// Leases are checked twice a second, so a gap of more than a second is a lock, a failure or a suspended process.
const gapMsMax = 1000
const probeMs = 400
// Workers that got a 503 send their report again after Retry-After, and reports may wait in the sockets' buffers.
const graceMsMax = 5000

export type Outages = {
  /** Observes how a transaction ends; passes its outcome on. */
  observe: <Value>(transaction: Promise<Value>) => Promise<Value>
  /**
   * The outages that leases were not credited for. Within a transaction they include the time that it waited: this
   * outage ends with it.
   */
  find: () => readonly LostTime[]
  /** Leases were credited for these outages. */
  settle: (outages: readonly LostTime[]) => void
  /** There are no leases, so no outage can cost one. */
  observeIdle: () => void
  /** Whether it is too long ago that this process committed. */
  isProbeDue: () => boolean
  /** Whether the workers have not yet had the time to repeat the reports that an outage kept from being recorded. */
  isInGrace: () => boolean
}

/** `now` in ms since 1970: leases run by this clock, so its jumps count as outages too. */
export type OutagesNeeds = { now: () => number }

export const createOutages = ({ now }: OutagesNeeds): Outages => {
  let committedAt = now()
  let hasFailed = false
  let ended: readonly LostTime[] = []
  let graceEndsAt = -Infinity

  const find = (): readonly LostTime[] => {
    const at = now()
    return hasFailed || at - committedAt > gapMsMax ? [...ended, { beganAt: committedAt, endedAt: at }] : ended
  }
  const observeCommit = () => {
    ended = find()
    hasFailed = false
    committedAt = now()
  }

  return {
    observe: async transaction => {
      try {
        const value = await transaction
        observeCommit()
        return value
      } catch (error) {
        hasFailed ||= isUnavailable(error)
        throw error
      }
    },
    find,
    settle: outages => {
      const { endedAt = -Infinity } = outages.at(-1) ?? {}
      // A commit that took very long is one more outage.
      ended = ended.filter(outage => outage.endedAt > endedAt + gapMsMax)
      graceEndsAt = Math.max(graceEndsAt, ...outages.map(({ beganAt, endedAt }) =>
        endedAt + Math.min(graceMsMax, (endedAt - beganAt) / 2)))
    },
    observeIdle: () => {
      ended = []
      hasFailed = false
      committedAt = now()
    },
    isProbeDue: () => find().length > 0 || now() - committedAt >= probeMs,
    isInGrace: () => now() < graceEndsAt
  }
}
