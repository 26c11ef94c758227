import { type Kysely, sql } from 'kysely'
import type { RecordColumn } from './record-columns.ts'

/*
 * The order of insertion as a column. SQLite's rowid is an order that other databases do not have, and that VACUUM may
 * change; lists, the queue, the pruner and reports go by `seq` instead.
 *
 * The number is the version that the row's insertion draws: unique, rising, known to the insert trigger anyway, and
 * never used again. Rows that are there get their rank by rowid, 1, 2, 3 …: each has drawn at least one version, so
 * no rank is above the newest version, and every later row comes after them.
 *
 * What 0001 and 0002 say holds here too. The previous release knows nothing of the column: triggers fill it.
 */

/** A column of that name in a table of another program holds something else, so none is taken over. */
export const recordColumns: readonly RecordColumn[] = []

const columns = [
  sql`ALTER TABLE JobExecutionLog ADD COLUMN seq INTEGER`,
  sql`ALTER TABLE JobQueue ADD COLUMN seq INTEGER`
]

const rankRows = sql`
  UPDATE JobExecutionLog SET seq = ranked.seq
  FROM (SELECT rowid AS id, row_number() OVER (ORDER BY rowid) AS seq FROM JobExecutionLog) AS ranked
  WHERE JobExecutionLog.rowid = ranked.id`

// Triggers of another program would take the ranking for changes by its programs; ours would draw versions.
const withoutTriggers = async (db: Kysely<unknown>, work: () => Promise<unknown>): Promise<void> => {
  const { rows } = await sql<{ name: string, sql: string }>`
    SELECT name, sql FROM sqlite_schema
    WHERE type = 'trigger' AND tbl_name = 'JobExecutionLog' COLLATE NOCASE`.execute(db)
  for (const { name } of rows) await sql`DROP TRIGGER ${sql.id(name)}`.execute(db)
  await work()
  for (const trigger of rows) await sql.raw(trigger.sql).execute(db)
}

const rankQueue = sql`
  UPDATE JobQueue SET seq = (SELECT seq FROM JobExecutionLog AS log WHERE log.jobId = JobQueue.jobId)`

/*
 * All but JobExecutionLog_seq replace an index that ended with the rowid. None is UNIQUE: INSERT OR REPLACE with the
 * seq of another row would remove that row without firing a trigger.
 *
 * None leaves out the rows without a seq. An insert writes the row before its trigger fills in the seq, and so enters
 * each index twice: 100,000 rows take 1.0 s instead of 0.76 s. But the previous release, which may run beside this one
 * or return after it, could not use such an index: it orders by the rowid, and a page of a million rows would take it
 * 1.6 s. By these indexes it only sorts the rows of one time.
 */
const indexes = [
  ...[
    'JobExecutionLog_tenantCreated', 'JobExecutionLog_created', 'JobExecutionLog_ended',
    'JobExecutionLog_endedElsewhere', 'JobQueue_free', 'JobQueue_freeOfTenant'
  ].map(name => sql`DROP INDEX ${sql.id(name)}`),
  sql`CREATE INDEX JobExecutionLog_seq ON JobExecutionLog (seq)`,
  sql`CREATE INDEX JobExecutionLog_tenantCreated ON JobExecutionLog (tenant, createdMs, seq)`,
  sql`CREATE INDEX JobExecutionLog_created ON JobExecutionLog (createdMs, seq)`,
  sql`CREATE INDEX JobExecutionLog_ended ON JobExecutionLog (coalesce(endTime, createdAt), seq)
      WHERE status IN ('Succeeded', 'Failed') AND submittedBy IS NOT NULL`,
  sql`CREATE INDEX JobExecutionLog_endedElsewhere ON JobExecutionLog (coalesce(endTime, createdAt), seq)
      WHERE status IN ('Succeeded', 'Failed') AND submittedBy IS NULL`,
  sql`CREATE INDEX JobQueue_free ON JobQueue (type, availableAt, seq) WHERE leaseToken IS NULL`,
  sql`CREATE INDEX JobQueue_freeOfTenant ON JobQueue (tenant, type, availableAt, seq) WHERE leaseToken IS NULL`
]

// For the previous release: this one names the seq itself.
const onEnqueue = sql`
  CREATE TRIGGER JobQueue_seq AFTER INSERT ON JobQueue WHEN NEW.seq IS NULL
  BEGIN
    UPDATE JobQueue SET seq = (SELECT seq FROM JobExecutionLog WHERE jobId = NEW.jobId) WHERE jobId = NEW.jobId;
  END`

// What belongs to one life of a job, and to the service.
const discardLife = sql.raw(`
    DELETE FROM JobQueue WHERE jobId = NEW.jobId;
    DELETE FROM JobInput WHERE jobId = NEW.jobId;
    DELETE FROM JobResult WHERE jobId = NEW.jobId;
    DELETE FROM SanitizationEvent WHERE jobId = NEW.jobId;
    DELETE FROM OrphanedBytes WHERE holder = 'JobResultChunk' AND id = NEW.jobId;
    INSERT INTO OrphanedBytes (holder, id, forgetAt)
      SELECT 'JobResultChunk', NEW.jobId, 0 WHERE EXISTS (SELECT 1 FROM JobResultChunk WHERE jobId = NEW.jobId);`)

// JobExecutionLog_seq_update recognizes this update of `seq` by its new version. If the statement names a seq and has
// predicted the version, which then would not change, a second number is drawn.
const onInsert = sql`
  CREATE TRIGGER JobExecutionLog_inserted AFTER INSERT ON JobExecutionLog
  BEGIN
    SELECT RAISE(ABORT, 'a rowid is never negative') WHERE NEW.rowid < 0;
    DELETE FROM JobTombstone WHERE jobId = NEW.jobId;
    ${discardLife}
    INSERT INTO JobChange (jobId) VALUES (NEW.jobId);
    INSERT INTO JobChange (jobId) SELECT NEW.jobId WHERE NEW.seq IS NOT NULL AND last_insert_rowid() = NEW.version;
    UPDATE JobExecutionLog SET version = last_insert_rowid(), seq = last_insert_rowid() WHERE jobId = NEW.jobId;
    UPDATE JobExecutionLog SET createdAt = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
      WHERE jobId = NEW.jobId AND createdAt IS NULL;
  END`

/*
 * Restores a seq that another program writes, and draws a version, as JobExecutionLog_updated does for a version that
 * another program writes. An update of the triggers themselves either fills in a row without a seq, or also sets the
 * version to the newest number of the change log, which names this job.
 *
 * SQLite runs the trigger that was created last first. This trigger has to run before JobExecutionLog_updated, which
 * may draw the very number that the statement has predicted: a migration that creates that one again creates this one
 * after it.
 */
const onSeqWritten = sql`
  CREATE TRIGGER JobExecutionLog_seq_update AFTER UPDATE OF seq ON JobExecutionLog
  WHEN OLD.seq IS NOT NULL AND NEW.seq IS NOT OLD.seq
    AND NOT (NEW.version IS NOT OLD.version
      AND EXISTS (SELECT 1 FROM JobChange WHERE version = NEW.version AND jobId = NEW.jobId
                  AND version = (SELECT max(version) FROM JobChange)))
  BEGIN
    INSERT INTO JobChange (jobId) VALUES (NEW.jobId);
    INSERT INTO JobChange (jobId) SELECT NEW.jobId WHERE last_insert_rowid() = NEW.version;
    UPDATE JobExecutionLog SET version = last_insert_rowid(), seq = OLD.seq WHERE jobId = NEW.jobId;
  END`

const triggers = [sql`DROP TRIGGER JobExecutionLog_inserted`, onInsert, onSeqWritten, onEnqueue]

export const up = async (db: Kysely<unknown>): Promise<void> => {
  for (const statement of columns) await statement.execute(db)
  await withoutTriggers(db, () => rankRows.execute(db))
  for (const statement of [rankQueue, ...indexes, ...triggers]) await statement.execute(db)
}
