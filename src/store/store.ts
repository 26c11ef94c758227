import type { Selectable, Transaction } from 'kysely'
import type { Callback, CallbackQueue } from '../job/callbacks/callback.ts'
import type { Attempt } from '../job/attempt.ts'
import type { Access, InputReader, JobInput, RawInput } from '../job/input.ts'
import type { JobLookup, JobState } from '../job/job.ts'
import type { ListPosition } from '../job/list-position.ts'
import type { ChangeLog } from './change-log.ts'
import type { Tables } from './tables.ts'

/*
 * What a store promises, whatever database it stands on. test/store/conformance has a test for each promise.
 *
 * Every visible change of a job, by any program, draws the next number of one database-wide sequence: its version. The
 * versions of one job only rise, also when a deleted job is made again. A status that is final stays (BR-001); the
 * database rejects every statement that would change it.
 *
 * Reads never wait for writes, and see committed transactions only. Each reads one moment: a committed transaction is
 * visible as a whole, and from the commit on, to every process. Writes are functions of a transaction, in store/tx.
 *
 * A method rejects with STORE_UNAVAILABLE if the database fails, and with what is named at the method.
 */

/** An open write transaction. */
export type Tx = Transaction<Tables>

/**
 * Runs work in a write transaction, as a whole or not at all, and resolves after the commit: what it resolves to
 * survives a crash. Rejects with what the work throws, after undoing it. The work may run again from its beginning, so
 * it has no effect but its statements. A store that groups several works into one commit undoes only the failed one.
 *
 * Works that name the same `group` do the same to different jobs: each locks its job first, or takes one that is free.
 * A store may run their statements together.
 */
export type Transact = <Value>(work: (tx: Tx) => Promise<Value>, group?: string) => Promise<Value>

/**
 * The jobs of a list; null restricts nothing. `tenant` means this tenant's jobs and those without a tenant. Jobs created
 * after and before these times, exclusive (ms since 1970); a time that the database cannot read is neither.
 */
export type ListFilter = {
  tenant: string | null
  states: readonly JobState[] | null
  type: string | null
  createdAfter: number | null
  createdBefore: number | null
  idPrefix: string | null
}

/** `positions` are those of the lookups. `next` is the position to go on from; null at the end of the list. */
export type ListPage = { lookups: JobLookup[], positions: ListPosition[], next: ListPosition | null }

/**
 * Reads the page after a position, at most `limit` jobs, newest first. Rows inserted between two pages neither move
 * nor repeat others. The rows examined for a page and the bytes read for it are bounded, so a page of rare or large jobs
 * may be short or empty although more follow.
 */
export type ListJobs = (filter: ListFilter, after: ListPosition | null, limit: number) => Promise<ListPage>

export type JobReader = {
  /** The record, or else its tombstone. */
  find: (jobId: string) => Promise<JobLookup>
  /** The version of the record; undefined if there is no record. Costs a fifth of `find`. */
  findVersion: (jobId: string) => Promise<number | undefined>
  /** The versions of the records that exist among these, in one read. */
  findVersions: (jobIds: readonly string[]) => Promise<ReadonlyMap<string, number>>
  /** The job with its runs, oldest first, at one moment. */
  findWithAttempts: (jobId: string) => Promise<{ lookup: JobLookup, attempts: Attempt[] }>
  /** The job with its input, at one moment; undefined where it has none: the service did not submit it. */
  findWithInput: (jobId: string) => Promise<{ lookup: JobLookup, input: JobInput | undefined }>
  /** The job with its callbacks, in the order in which they were added, at one moment. */
  findWithCallbacks: (jobId: string) => Promise<{ lookup: JobLookup, callbacks: Callback[] }>
  list: ListJobs
  /** Resolves if the database answers a read. */
  ping: () => Promise<void>
}

/** The bytes of a running attempt so far. `contentType` is null until the worker has said what they are. */
export type PartialResult = {
  attempt: number, run: number, sizeBytes: number, contentType: string | null, fileName: string | null
}

/**
 * The bytes of a finished result, by their hash, or those of a run. The runs of a job are numbered in their order; two
 * have the same attempt if the first was released.
 */
export type BytesOf = { jobId: string } & ({ sha256: string } | { run: number })

export type ResultReader = {
  /**
   * The bytes from `start` to before `end`, a few chunks in memory at a time. Throws ResultTorn if they end early or if
   * those of another run have replaced them: no reader gets parts of two results.
   */
  read: (of: BytesOf, start: number, end: number) => AsyncGenerator<Uint8Array, void, void>
  /** What a running job has sent so far; undefined if the job does not run under a lease. */
  findPartial: (jobId: string) => Promise<PartialResult | undefined>
  /** The number of the latest run; 0 where there was none. */
  findRun: (jobId: string) => Promise<number>
}

/** What the queue knows of an unfinished job of ours. Times in ms since 1970. */
export type QueueItem = Omit<Selectable<Tables['JobQueue']>, 'seq'>

/** The jobs of these types, of one tenant or (null) of all. */
export type ClaimFilter = { types: readonly string[], tenant: string | null }

/**
 * Why a run has to be ended: its lease expired, its holder is gone, it exceeded its deadline, or it did not stop in
 * time after a cancellation. Times in ms since 1970.
 */
export type StuckBy = { leaseExpiredAt: number } | { holder: string } | { deadlineAt: number } | { cancelDueAt: number }

/**
 * The jobs of one type in the queue. `oldestAt`: since when the one that has waited longest can be claimed (ms since
 * 1970); null: none is queued.
 */
export type QueueCount = { type: string, queued: number, running: number, oldestAt: number | null }

/** Takes no lock: an idle service leaves the database to other writers. */
export type QueueReader = {
  /** Whether a job that matches is available at `now` (ms since 1970) and not leased. */
  hasAvailable: (filter: ClaimFilter, now: number) => Promise<boolean>
  hasStuck: (by: StuckBy) => Promise<boolean>
  /**
   * Counts the jobs of every type. Leaves turns of the event loop to others, so a job that moves meanwhile may be
   * counted twice or not at all.
   */
  count: () => Promise<QueueCount[]>
}

/** Records that this service submitted, or those of other programs. */
export type Origin = 'ours' | 'foreign'

/** Whether anything is due for the pruner at a time (ms since 1970). Takes no lock. */
export type RetentionReader = {
  hasDueResults: (at: number) => Promise<boolean>
  hasDueRecords: (origin: Origin, before: number) => Promise<boolean>
  hasDueTombstones: (before: number) => Promise<boolean>
  hasOrphans: (at: number) => Promise<boolean>
  hasOldChanges: (before: number) => Promise<boolean>
  hasOldIdempotencyKeys: (before: number) => Promise<boolean>
}

/** Which callbacks are due. Takes no lock. Times in ms since 1970. */
export type CallbackReader = {
  /** Whether a try of any callback is due at `at`. */
  hasDue: (at: number) => Promise<boolean>
  /**
   * Examines the queues behind `after` that have pending callbacks, at most `limit`, in their order. `due`: those with a
   * try that is due at `at`. `next`: the queue to go on behind; null at the end. What it costs depends on the number of
   * queues, not on how many callbacks wait in them.
   */
  pendingQueues: (
    at: number, after: CallbackQueue, limit: number
  ) => Promise<{ due: CallbackQueue[], next: CallbackQueue | null }>
  /** How many callbacks are pending, counted up to `countMax`. */
  countPending: (countMax: number) => Promise<number>
}

/** What all processes have agreed on. `changedAt` in ms since 1970; the epoch stays off for at least `holdMs`. */
export type EpochRow = Omit<Selectable<Tables['CacheEpoch']>, 'id'>

/**
 * A process: the epoch and mode that it last acknowledged, and the Redis that it can use. `beat` rises with each of
 * its writes here; `isGone`: others evicted it, because they have not observed a new beat for a long time.
 */
export type NodeRow = Selectable<Tables['CacheNode']>

export type EpochRows = { epoch: EpochRow, nodes: readonly NodeRow[] }

/** What a process acknowledges: from then on it acts on nothing older. */
export type Acknowledgement = Pick<NodeRow, 'epoch' | 'mode' | 'runId'>

/**
 * The rows by which the processes on one database agree about their cache; status/epoch has the protocol. Each write
 * is one transaction, and takes effect only if the stored state is still the one named in its arguments.
 */
export type EpochRowStore = {
  /**
   * Both tables at one moment. Called ten times a second. A call without an answer for 400 ms no longer holds back the
   * next one: each should answer or fail within 500 ms, so that few overlap.
   */
  read: () => Promise<EpochRows>
  /** Enters a process, in a new epoch. Removes the `stale` nodes, whose processes have ended. */
  join: (node: string, name: string, stale: readonly string[]) => Promise<void>
  /** Begins a new epoch, off, unless the one named `seen` has ended or is off already. */
  trip: (node: string, seen: string, name: string, reason: string) => Promise<void>
  acknowledge: (node: string, what: Acknowledgement) => Promise<void>
  /** Moves the epoch that was seen to the next mode, unless it has changed. */
  advance: (seen: Pick<EpochRow, 'name' | 'mode'>, mode: 'warm' | 'on', runId: string) => Promise<void>
  /** Marks these nodes as gone, except those that have a new beat. */
  evict: (nodes: readonly NodeRow[]) => Promise<void>
  /** Deletes these nodes if they are still gone. */
  remove: (nodes: readonly NodeRow[]) => Promise<void>
  leave: (node: string) => Promise<void>
}

/** A record as a report needs it, times in ms since 1970. `failureCode` is null unless the job failed. */
export type RecordRow = {
  type: string | null
  status: string
  startedAt: number | null
  finishedAt: number | null
  createdAt: number
  failureCode: string | null
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
  /**
   * The records that `access` allows, of one type or of all (undefined). A page may be empty, since records that
   * `access` does not allow are left out.
   */
  records: (access: Access, type: string | undefined) => Promise<RecordPages>
  /** The bytes in order, a few chunks in memory at a time. Throws where they differ in size from `sizeBytes`. */
  readInput: (stored: StoredBytes) => AsyncGenerator<Uint8Array, void, void>
  close: () => Promise<void>
}

/** The record of all jobs, in one database. */
export type Store = {
  kind: 'sqlite' | 'postgres'
  /**
   * Random text of this database, read once when it is opened. It changes when a backup is restored: versions and
   * cursors of before the restore mean nothing afterwards.
   */
  incarnation: string
  /** ms since 1970, by the one clock that all processes on this database share. */
  now: () => number
  jobs: JobReader
  results: ResultReader
  inputs: InputReader
  queue: QueueReader
  retention: RetentionReader
  callbacks: CallbackReader
  changes: ChangeLog
  epoch: EpochRowStore
  transact: Transact
  /** How many calls of `transact` wait for their commit. */
  writesWaiting: () => number
  /** Closes the connections and lets other processes have the database. Nothing may use the store afterwards. */
  close: () => Promise<void>
}

/**
 * What processes that have ended left behind: their node rows, and the names under which their workers held leases.
 */
export type StaleOwners = { nodes: readonly string[], holders: readonly string[] }

/**
 * `isAlone`: no other process can have the database open as long as this one has. `warnings`: what its operator should
 * know of it, a line each.
 */
export type OpenedStore = { store: Store, stale: StaleOwners, isAlone: boolean, warnings: readonly string[] }
