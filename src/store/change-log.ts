import type { Transaction } from 'kysely'
import type { Readers } from '../job/job.ts'
import type { Tables } from './tables.ts'

/** A place in the change log: opaque text of letters, digits and hyphens that any process can keep and go on from. */
export type Cursor = string

/**
 * One visible change of one job. `cursor` is the place after it.
 *
 * `readersBefore` and `readersAfter`: who could read the job before and after the change; null: no one, or not known.
 * The tombstone of a job says who could read it before a new record; after a deletion no one can. Not known are changes
 * of a release that did not record it, those of pruned tombstones, and who could read a record that another of the same
 * tenant replaces. A tenant longer than any that a token can have may be cut, but to none that a token can have.
 */
export type Change = {
  jobId: string, version: number, cursor: Cursor, readersBefore: Readers | null, readersAfter: Readers | null
}

/**
 * Consecutive changes. `isGap`: changes before these were pruned before they were read, so the follower has missed
 * some. `isLast`: there were no more when the page was read.
 */
export type ChangePage = { changes: Change[], isGap: boolean, isLast: boolean }

/** One reader of the change log. */
export type Follower = {
  /**
   * Reads at most `limit` changes. Until a page is accepted, every call reads on from the same place. Every committed
   * change comes exactly once. Changes may come in another order than their versions: of several changes of a job, the
   * highest version counts. A call that finds nothing new is cheap enough to be made every 50 ms.
   */
  next: (limit: number) => Promise<ChangePage>
  /** Moves on to the end of the page that was read last. */
  accept: () => void
  /** The place that it has come to: another follower goes on from here with the change after the last accepted one. */
  cursor: () => Cursor
}

/** The database's own record of what changed. Triggers write it, in the transaction of the change. */
export type ChangeLog = {
  /**
   * Follows the log from a cursor on, or from after the newest change. If changes after the cursor were pruned, or if
   * it is older than a restore, the first page has a gap. Rejects with CursorMalformed if this database cannot have
   * handed out the cursor.
   */
  follow: (from?: Cursor) => Promise<Follower>
  /** Removes changes made before `before` (ms since 1970), at most `limit` of them. Returns how many. */
  prune: (tx: Transaction<Tables>, before: number, limit: number) => Promise<number>
  /**
   * Calls `wake` soon after another process of the service has committed, until the function that it returns is called.
   * Followers poll all the same: an announcement can be lost, and other programs make none.
   */
  onAnnounced: (wake: () => void) => () => void
  /** Whether processes announce their commits. Where they do not, polling is cheap enough to need no announcement. */
  isAnnounced: boolean
}
