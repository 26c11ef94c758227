import type { Selectable, Transaction } from 'kysely'
import type { Access } from '../job/access.ts'
import type { InputReader, RawInput } from '../job/input.ts'
import type { JobLookup } from '../job/job.ts'
import type { ListPosition } from '../job/list-position.ts'
import type { Tables } from './tables.ts'

export type Tx = Transaction<Tables>

/**
 * Runs work in a write transaction, whole or not at all, and returns once that is committed. Throws STORE_UNAVAILABLE
 * when the database cannot take it. The work may be run again from its beginning.
 */
export type Transact = <Value>(work: (tx: Tx) => Promise<Value>) => Promise<Value>

/** Which jobs; what is null restricts nothing. `tenant`: of this one and of none. `createdAfter` in ms since 1970. */
export type ListFilter = { tenant: string | null, status: string | null, type: string | null, createdAfter: number | null }

/** `next`: where the list goes on; null: here it ends. */
export type ListPage = { lookups: JobLookup[], next: ListPosition | null }

/**
 * One page of the list, after a position. Rows inserted meanwhile neither move nor repeat others. A rare kind of job
 * may fill a page in part only, or not at all, though more follow: so many rows are looked at for one page, and no
 * more. Throws STORE_UNAVAILABLE.
 */
export type ListJobs = (filter: ListFilter, after: ListPosition | null, limit: number) => Promise<ListPage>

/** Reads of records. All throw STORE_UNAVAILABLE. */
export type JobReader = {
  /** The record as the newest committed transaction left it, or its tombstone. */
  find: (jobId: string) => Promise<JobLookup>
  /** The version of the record; undefined if there is no record. Cheaper than `find`. */
  findVersion: (jobId: string) => Promise<number | undefined>
  list: ListJobs
  /** Resolves if the database answers a read. */
  ping: () => Promise<void>
}

/** The bytes of a running attempt so far. `contentType` null: the worker has not said what they are. */
export type PartialResult = { attempt: number, sizeBytes: number, contentType: string | null, fileName: string | null }

/** Which bytes are meant: those of a finished result by their hash, or those of an attempt. */
export type BytesOf = { jobId: string } & ({ sha256: string } | { attempt: number })

/** Reads of stored results. Throws STORE_UNAVAILABLE. */
export type ResultReader = {
  /**
   * The bytes from `start` to before `end`, one chunk in memory at a time. Throws ResultTorn where they end early, or
   * would be followed by those of another attempt.
   */
  read: (of: BytesOf, start: number, end: number) => AsyncGenerator<Uint8Array, void, void>
  /** What a running job has sent so far; undefined unless it runs. */
  findPartial: (jobId: string) => Promise<PartialResult | undefined>
}

/** What the queue knows of a job of ours that is not finished. Times in milliseconds since 1970. */
export type QueueItem = Tables['JobQueue']

/** Which jobs are meant: those of these types, of one tenant or (null) of all. */
export type ClaimFilter = { types: readonly string[], tenant: string | null }

/** Whose runs are over without a word from them. `holder`: all of one that is gone. */
export type StuckBy = { leaseExpiredAt: number } | { holder: string } | { deadlineAt: number } | { cancelDueAt: number }

/**
 * Reads the queue without a lock: an idle service leaves the database to other writers and never waits for them.
 * Both throw STORE_UNAVAILABLE.
 */
export type QueueReader = {
  hasAvailable: (filter: ClaimFilter, now: number) => Promise<boolean>
  hasStuck: (by: StuckBy) => Promise<boolean>
}

/** Finished records: ours, or those that other programs submitted. */
export type Origin = 'ours' | 'foreign'

/** Whether there is anything from before that time (ms since 1970). Takes no lock; throws STORE_UNAVAILABLE. */
export type RetentionReader = {
  hasDueResults: (at: number) => Promise<boolean>
  /** May be true for records that are not due by their own words. */
  hasDueRecords: (origin: Origin, before: number) => Promise<boolean>
  hasDueTombstones: (before: number) => Promise<boolean>
  hasOrphans: (at: number) => Promise<boolean>
  hasOldChanges: (before: number) => Promise<boolean>
  hasOldIdempotencyKeys: (before: number) => Promise<boolean>
}

/** A place in the change log, opaque text of letters, digits and hyphens that any process can keep and go on from. */
export type Cursor = string

/** One visible change of one job, no matter which program made it. `cursor` is the place after it. */
export type Change = { jobId: string, version: number, cursor: Cursor }

/**
 * Consecutive changes. `isGap`: changes before these were pruned before they were read, so the follower has missed some.
 * `isLast`: there were no more at the time of the read.
 */
export type ChangePage = { changes: Change[], isGap: boolean, isLast: boolean }

/** One reader of the change log. */
export type Follower = {
  /**
   * Reads at most `limit` changes. Until they are accepted, the next call starts at the same change again. A change
   * comes after it is committed, once, and none is left out; the order between jobs is that of no clock, and of one job
   * the highest version counts. A call that finds nothing new is cheap enough to be made every 50 ms. Throws
   * STORE_UNAVAILABLE.
   */
  next: (limit: number) => Promise<ChangePage>
  /** Moves on to the end of the page that was read last. */
  accept: () => void
}

/** The database's own record of what changed: its triggers write it, in the transaction of the change. */
export type ChangeLog = {
  /**
   * Follows the log from a place on, or from after its newest change. A place that was pruned, or that belongs to the
   * time before a restore, is a gap in the first page. Throws CursorMalformed where `from` is no cursor of this log,
   * and STORE_UNAVAILABLE.
   */
  follow: (from?: Cursor) => Promise<Follower>
  /** Removes changes made before `before` (ms since 1970), at most `limit` of them. Returns how many. */
  prune: (tx: Tx, before: number, limit: number) => Promise<number>
}

/** What all have agreed on. `changedAt` in ms since 1970; `holdMs`: how long it stays off at least. */
export type EpochRow = Omit<Selectable<Tables['CacheEpoch']>, 'id'>

/**
 * A process: what it last acknowledged, and the Redis that it can use. `beat` rises with everything it writes here;
 * `isGone`: others have not heard of it for long.
 */
export type NodeRow = Selectable<Tables['CacheNode']>

/** Both, at one moment. */
export type EpochRows = { epoch: EpochRow, nodes: readonly NodeRow[] }

/** What a process acknowledges: it never again acts on anything older. */
export type Acknowledgement = Pick<NodeRow, 'epoch' | 'mode' | 'runId'>

/** All but `read` write, and all throw STORE_UNAVAILABLE. */
export type EpochRowStore = {
  /**
   * Both tables at one moment. Called ten times a second, and again 400 ms later if there is no answer: it should answer
   * or fail within 500 ms, so that few are under way.
   */
  read: () => Promise<EpochRows>
  /** Enters a process, in an epoch that begins with it; `dead` are removed, for they are known to have ended. */
  join: (node: string, name: string, dead: readonly string[]) => Promise<void>
  /** Begins a new epoch, off, unless the one that was seen has ended already. */
  trip: (node: string, seen: string, name: string, reason: string) => Promise<void>
  acknowledge: (node: string, what: Acknowledgement) => Promise<void>
  /** Goes on from what was seen; nothing happens if that is past. */
  advance: (seen: Pick<EpochRow, 'name' | 'mode'>, mode: 'warm' | 'on', runId: string) => Promise<void>
  /** These have not been heard of since; one that was, meanwhile, stays. */
  evict: (nodes: readonly NodeRow[]) => Promise<void>
  remove: (nodes: readonly NodeRow[]) => Promise<void>
  leave: (node: string) => Promise<void>
}

/** A record as a report needs it. Times are as they were written; `errorDetails` is null unless the job failed. */
export type RecordRow = {
  type: string | null
  status: string
  startTime: string | null
  endTime: string | null
  createdAt: string | null
  errorDetails: string | null
}

/** `total` counts the records that exist when the reading begins; `pages` has each of them once and no later ones. */
export type RecordPages = { total: number, pages: AsyncIterable<RecordRow[]> }

/** Where the raw bytes of an input are stored. */
export type StoredBytes = Pick<RawInput, 'inputId' | 'sizeBytes'>

/**
 * What a processor's thread reads. The database is opened by the first read, and no transaction outlasts a page or a
 * chunk: a long one would keep the write-ahead log from shrinking.
 */
export type ReadOnlyStore = {
  /** The records that `access` allows, of one type or of all (undefined). A page is empty where it has others' only. */
  records: (access: Access, type: string | undefined) => Promise<RecordPages>
  /** The bytes in order, one chunk in memory at a time. Throws where they differ in size from `sizeBytes`. */
  readInput: (stored: StoredBytes) => AsyncGenerator<Uint8Array, void, void>
  close: () => Promise<void>
}

/** The record of all jobs in one database. */
export type Store = {
  kind: 'sqlite'
  /**
   * Random text of this database, read once when it is opened. It changes when a backup is restored: versions of before
   * mean nothing then.
   */
  incarnation: string
  jobs: JobReader
  results: ResultReader
  inputs: InputReader
  queue: QueueReader
  retention: RetentionReader
  changes: ChangeLog
  epoch: EpochRowStore
  transact: Transact
  /** How many calls of `transact` wait for their commit. */
  writesWaiting: () => number
  /** Closes the connections and lets other processes have the database. Nothing may use the store afterwards. */
  close: () => Promise<void>
}

/** What processes that have ended left behind: their entries, and the names under which their workers held leases. */
export type StaleOwners = { nodes: readonly string[], holders: readonly string[] }

export type OpenedStore = { store: Store, stale: StaleOwners }
