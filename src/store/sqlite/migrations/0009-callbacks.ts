import { type Kysely, sql } from 'kysely'
import type { RecordColumn } from './record-columns.ts'

/*
 * The URLs that are called when a job has ended. What no reader of a status sees draws no version.
 *
 * A callback is due with the end of its job, whichever program ends it, so triggers make it due, in the transaction of
 * the end. A job that is deleted before its end makes it due, too: `isGone` says that there is nothing else to report,
 * and such a row outlives its job until it is delivered. If the job is inserted again before anything was sent, which
 * is how some programs replace a row, the callback waits for its end again. Deleting a finished job deletes its
 * callbacks: their URLs may be secrets.
 *
 * `nextTryAt` is null unless a try is due. While a try is under way it is the time at which another process may try:
 * the lease of the one that holds `leaseToken`. `host` has the name and the port, since deliveries to one host must not
 * wait for those to another. `body` is made at the first claim. `stateBefore` is set while a try is due that a client
 * asked for after the last one.
 *
 * What 0001 says holds here too. The previous release adds no callbacks, and its jobs make those of others due.
 */

/** What a table of another program needs in order to be adopted as the record. */
export const recordColumns: readonly RecordColumn[] = []

const states = "('waiting', 'pending', 'delivered', 'failed')"

const table = sql.raw(`
  CREATE TABLE JobCallback (
    id TEXT NOT NULL PRIMARY KEY,
    jobId TEXT NOT NULL,
    tenant TEXT NOT NULL,
    url TEXT NOT NULL,
    host TEXT NOT NULL,
    secret TEXT,
    addedAt INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ${states}),
    nextTryAt INTEGER,
    leaseToken TEXT,
    tries INTEGER NOT NULL DEFAULT 0 CHECK (tries >= 0),
    lastStatus INTEGER,
    lastError TEXT,
    lastTriedAt INTEGER,
    body TEXT,
    isGone INTEGER NOT NULL DEFAULT 0 CHECK (isGone IN (0, 1)),
    stateBefore TEXT CHECK (stateBefore IN ('delivered', 'failed')),
    redeliveredAt INTEGER,
    CHECK ((state = 'pending') = (nextTryAt IS NOT NULL))
  ) STRICT`)

const indexes = [
  sql`CREATE INDEX JobCallback_jobId ON JobCallback (jobId)`,
  // What is due: at all, and of one host.
  sql`CREATE INDEX JobCallback_due ON JobCallback (nextTryAt) WHERE nextTryAt IS NOT NULL`,
  sql`CREATE INDEX JobCallback_dueOfHost ON JobCallback (host, nextTryAt) WHERE nextTryAt IS NOT NULL`
]

const nowMs = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"
const isEnd = (row: 'NEW' | 'OLD'): string => `${row}.status IN ('Succeeded', 'Failed')`
const becomesDue = `UPDATE JobCallback SET state = 'pending', nextTryAt = ${nowMs}
      WHERE jobId = NEW.jobId AND state = 'waiting' AND isGone = 0`

// Triggers of their own: those that draw versions stay as they are. No statement can conflict.
const triggers = [
  `CREATE TRIGGER JobExecutionLog_callbacks_update AFTER UPDATE OF status ON JobExecutionLog
  WHEN ${isEnd('NEW')} AND NOT (${isEnd('OLD')})
  BEGIN
    ${becomesDue};
  END`,
  `CREATE TRIGGER JobExecutionLog_callbacks_insert AFTER INSERT ON JobExecutionLog
  WHEN EXISTS (SELECT 1 FROM JobCallback WHERE jobId = NEW.jobId)
  BEGIN
    UPDATE JobCallback SET state = 'waiting', nextTryAt = NULL, isGone = 0
      WHERE jobId = NEW.jobId AND isGone = 1 AND body IS NULL;
    ${becomesDue} AND ${isEnd('NEW')};
  END`,
  `CREATE TRIGGER JobExecutionLog_callbacks_delete AFTER DELETE ON JobExecutionLog
  BEGIN
    DELETE FROM JobCallback WHERE jobId = OLD.jobId AND isGone = 0 AND ${isEnd('OLD')};
    UPDATE JobCallback SET state = 'pending', nextTryAt = ${nowMs}, isGone = 1
      WHERE jobId = OLD.jobId AND state = 'waiting';
  END`
]

export const up = async (db: Kysely<unknown>): Promise<void> => {
  for (const statement of [table, ...indexes, ...triggers.map(trigger => sql.raw(trigger))]) await statement.execute(db)
}
