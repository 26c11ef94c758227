import { setImmediate as nextTurn } from 'node:timers/promises'
import type { StatusEntry } from '../job/status-entry.ts'
import type { ReadStatus } from './read-status.ts'

/*
 * Wakes the clients of this process that wait for changes of jobs. Three things wake them: an exposure by this process,
 * which brings the entry along; the relay, for changes that others made, after which the job is read once however many
 * wait for it; and a check every few seconds, so that a wake-up that was lost is only late.
 *
 * No change is missed between the first read of a job and the wait: the client subscribes before it reads.
 *
 * G1 holds for what wakes them. An exposure notifies only after it has taken effect, when no cache can return anything
 * older; the relay only after it has invalidated the cell, and the read that follows is a read like any other.
 */

/** Called with entries of jobs, each newer than those of the same job before. */
export type OnEntry = (entry: StatusEntry) => void

/** Whether an entry is what a client waits for. */
export type IsAwaited = (entry: StatusEntry) => boolean

/** What was committed: a job, and the version that the commit drew. */
export type CommittedChange = { jobId: string, version: number }

export type JobWatch = {
  /** Calls back for these jobs until the returned function is called. It reads nothing: subscribe, then read. */
  subscribe: (jobIds: readonly string[], onEntry: OnEntry) => () => void
  /**
   * Reads a job as ReadStatus does, and calls back with each newer entry until `unfollow` is called. Throws
   * STORE_UNAVAILABLE.
   */
  follow: (jobId: string, floor: number, onEntry: OnEntry) => Promise<{ entry: StatusEntry, unfollow: () => void }>
  /**
   * Reads a job as ReadStatus does, and waits until an entry of it is awaited; returns null once `ended` has resolved
   * before. Throws STORE_UNAVAILABLE if the first read fails.
   */
  awaitEntry: (jobId: string, floor: number, isAwaited: IsAwaited, ended: Promise<unknown>) => Promise<StatusEntry | null>
  /** An entry was exposed, or read in a way that G1 holds for. */
  onExposed: OnEntry
  /** Changes that this process may not have made; no cache returns anything older any more. */
  onChanges: (changes: readonly CommittedChange[]) => void
  /**
   * Compares what the clients were shown with the versions in the store, of so many jobs at a time: the next call goes
   * on where this one ends. Throws STORE_UNAVAILABLE.
   */
  recheck: () => Promise<void>
  /** Whether anybody waits. */
  isInUse: () => boolean
}

export type JobWatchNeeds = {
  readStatus: ReadStatus
  /** The versions of the records that exist. */
  findVersions: (jobIds: readonly string[]) => Promise<ReadonlyMap<string, number>>
}

type Watcher = { onEntry: OnEntry }

/**
 * `shown` is the newest version that the watchers were called with, `isGone` whether it had no record any more. `asked`
 * is the newest version that is known to exist, and `covered` the newest that a finished read was asked for.
 */
type WatchedJob = {
  watchers: Set<Watcher>, shown: number, isGone: boolean, asked: number, covered: number, isReading: boolean
}

const newJob = (watcher: Watcher): WatchedJob =>
  ({ watchers: new Set([watcher]), shown: 0, isGone: false, asked: 0, covered: 0, isReading: false })

/*
 * So many jobs one recheck compares, in turns of the event loop: ten thousand clients may wait for a hundred jobs each.
 * A lost wake-up of so many is later, and a long poll reads its jobs again at its limit.
 */
const recheckedMax = 20_000
const recheckedAtOnce = 500

const takeSome = <Value>(values: Iterator<Value>, countMax: number): Value[] => {
  const taken: Value[] = []
  for (let next; taken.length < countMax && (next = values.next()).done !== true;) taken.push(next.value)
  return taken
}

const show = (job: WatchedJob, entry: StatusEntry): void => {
  const { version, state } = entry
  job.shown = Math.max(job.shown, version)
  job.isGone = state === 'expired' || state === 'absent'
  for (const { onEntry } of job.watchers) onEntry(entry)
}

/** Reads jobs of which a newer version is known to exist, one read of a job at a time. */
const createReader = (readStatus: ReadStatus) => {
  const read = async (jobId: string, job: WatchedJob): Promise<void> => {
    job.isReading = true
    try {
      while (job.asked > job.covered && job.watchers.size > 0) {
        const { asked: floor, shown } = job
        const entry = await readStatus(jobId, floor)
        job.covered = floor
        // Unless the job was made again during the read.
        if (entry.state === 'absent' && !job.isGone && job.shown === shown) show(job, entry)
        else if (entry.version > job.shown) show(job, entry)
      }
    } catch {
      // The store cannot be read now: the next check finds the difference.
    } finally {
      job.isReading = false
    }
  }

  const ask = (jobId: string, job: WatchedJob, version: number): void => {
    if (version <= job.shown) return
    job.asked = Math.max(job.asked, version)
    if (!job.isReading) void read(jobId, job)
  }

  return ask
}

/** Whether an entry may be newer than what a read returned that was under way when it was exposed. */
export const isNewer = (exposed: StatusEntry, read: StatusEntry): boolean =>
  exposed.version > read.version || (exposed.state === 'absent' && read.state !== 'absent')

type FollowNeeds = Pick<JobWatchNeeds, 'readStatus'> & Pick<JobWatch, 'subscribe' | 'onExposed'>

const createFollow = ({ readStatus, subscribe, onExposed }: FollowNeeds): JobWatch['follow'] =>
  async (jobId, floor, onEntry) => {
    // What is exposed during the read can be older than what it returns, and than what the client has.
    const exposed: { newest: StatusEntry | null, hasRead: boolean } = { newest: null, hasRead: false }
    const unfollow = subscribe([jobId], entry => {
      if (exposed.hasRead) onEntry(entry)
      else exposed.newest = entry
    })
    try {
      let entry: StatusEntry
      do {
        exposed.newest = null
        entry = await readStatus(jobId, floor)
      } while (exposed.newest !== null && isNewer(exposed.newest, entry))
      onExposed(entry)
      exposed.hasRead = true
      return { entry, unfollow }
    } catch (error) {
      unfollow()
      throw error
    }
  }

const createAwaitEntry = (follow: JobWatch['follow']): JobWatch['awaitEntry'] =>
  async (jobId, floor, isAwaited, ended) => {
    const { promise: awaited, resolve } = Promise.withResolvers<StatusEntry>()
    const { entry, unfollow } = await follow(jobId, floor, entry => { if (isAwaited(entry)) resolve(entry) })
    try {
      return isAwaited(entry) ? entry : await Promise.race([awaited, ended.then(() => null)])
    } finally {
      unfollow()
    }
  }

export const createJobWatch = ({ readStatus, findVersions }: JobWatchNeeds): JobWatch => {
  const jobs = new Map<string, WatchedJob>()
  // Jobs that are subscribed to meanwhile come last.
  let unchecked = jobs.entries()

  const onExposed: OnEntry = entry => {
    const job = jobs.get(entry.jobId)
    // That a job is absent has no version: such an entry may be older than the job.
    if (job !== undefined && entry.version > job.shown) show(job, entry)
  }

  const ask = createReader(readStatus)

  const subscribe: JobWatch['subscribe'] = (jobIds, onEntry) => {
    const watcher: Watcher = { onEntry }
    for (const jobId of jobIds) {
      const job = jobs.get(jobId)
      if (job !== undefined) job.watchers.add(watcher)
      else jobs.set(jobId, newJob(watcher))
    }
    return () => {
      for (const jobId of jobIds) {
        const job = jobs.get(jobId)
        job?.watchers.delete(watcher)
        if (job?.watchers.size === 0) jobs.delete(jobId)
      }
    }
  }

  const follow = createFollow({ readStatus, subscribe, onExposed })

  const compare = async (some: ReadonlyArray<[string, WatchedJob]>): Promise<void> => {
    const versions = await findVersions(some.map(([jobId]) => jobId))
    for (const [jobId, job] of some) {
      const version = versions.get(jobId)
      // A record that was removed has left a newer version behind: that of its tombstone.
      if (version !== undefined) ask(jobId, job, version)
      else if (job.shown > 0 && !job.isGone) ask(jobId, job, job.shown + 1)
    }
  }

  return {
    subscribe,
    follow,
    awaitEntry: createAwaitEntry(follow),
    onExposed,
    onChanges: changes => {
      for (const { jobId, version } of changes) {
        const job = jobs.get(jobId)
        if (job !== undefined) ask(jobId, job, version)
      }
    },
    recheck: async () => {
      for (let checked = 0; checked < recheckedMax; checked += recheckedAtOnce) {
        if (checked > 0) await nextTurn()
        const some = takeSome(unchecked, recheckedAtOnce)
        const isEnd = some.length < recheckedAtOnce
        if (isEnd) unchecked = jobs.entries()
        if (some.length > 0) await compare(some)
        if (isEnd) return
      }
    },
    isInUse: () => jobs.size > 0
  }
}
