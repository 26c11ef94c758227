import { type Kysely, sql } from 'kysely'
import type { ColumnRule, RecordColumn } from './record-columns.ts'

/*
 * Cancellation, expiry, partial results, remote workers, inputs of any size, and lists.
 *
 * The rules of 0001 hold here too: visible columns draw a version, what no reader sees is in other tables, and the
 * triggers need no SQLite newer than 3.37. Columns and tables are only added, so the previous release can go on
 * reading and writing; the triggers that are replaced do for it what they did before.
 */

/** What a table of another program needs in order to be adopted as the record. */
export const recordColumns: readonly RecordColumn[] = [
  { name: 'cancelRequestedAt', definition: 'TEXT' },
  {
    name: 'cancelledAt',
    definition: "TEXT CHECK (cancelledAt IS NULL OR status = 'Failed')",
    rule: { holds: row => `${row}cancelledAt IS NULL OR ${row}status IS 'Failed'`, says: 'null, unless status is Failed' }
  },
  { name: 'expiresAt', definition: 'TEXT' },
  { name: 'resultExpiredAt', definition: 'TEXT' },
  {
    name: 'hasPartialResult',
    definition: 'INTEGER NOT NULL DEFAULT 0 CHECK (hasPartialResult IN (0, 1))',
    rule: { holds: row => `coalesce(${row}hasPartialResult, 0) IN (0, 1)`, says: '0, 1 or null' }
  }
]

const offendersSql = ({ holds }: ColumnRule): string => `SELECT 1 FROM JobExecutionLog WHERE NOT (${holds('')}) LIMIT 1`

const ruleTriggers = (column: string, rule: ColumnRule): string[] => ['INSERT', 'UPDATE'].map(verb => `
  CREATE TRIGGER JobExecutionLog_${column}_rule_${verb.toLowerCase()} BEFORE ${verb} ON JobExecutionLog
  WHEN NOT (${rule.holds('NEW.')})
  BEGIN SELECT RAISE(ABORT, '${column}: ${rule.says}'); END`)

const holdToRule = async (db: Kysely<unknown>, column: string, rule: ColumnRule): Promise<void> => {
  const { rows } = await sql.raw(offendersSql(rule)).execute(db)
  if (rows.length > 0) throw new Error(`JobExecutionLog has rows that break the rule of ${column} (${rule.says})`)
  for (const trigger of ruleTriggers(column, rule)) await sql.raw(trigger).execute(db)
}

/** Adds the columns that are missing, and holds the others to their rules. */
const addRecordColumns = async (db: Kysely<unknown>, columns: readonly RecordColumn[]): Promise<void> => {
  const { rows } = await sql<{ name: string }>`SELECT name FROM pragma_table_xinfo('JobExecutionLog')`.execute(db)
  const present = new Set(rows.map(({ name }) => name.toLowerCase()))
  for (const column of columns) {
    if (!present.has(column.name.toLowerCase())) {
      await sql.raw(`ALTER TABLE JobExecutionLog ADD COLUMN ${column.name} ${column.definition}`).execute(db)
    } else if (column.rule !== undefined) await holdToRule(db, column.name, column.rule)
  }
}

// The guards keep words like 'now' from the date functions: an index rejects these with an error. Numbers, which only
// a table of another program can hold, are read as `toTime` reads them.
const createdMs = sql`
  ALTER TABLE JobExecutionLog ADD COLUMN createdMs INTEGER GENERATED ALWAYS AS (
    CASE WHEN typeof(createdAt) = 'text' AND createdAt GLOB '[0-9][0-9][0-9][0-9]-[0-9]*'
      THEN CAST(round((julianday(createdAt) - 2440587.5) * 86400000) AS INTEGER)
      WHEN typeof(createdAt) IN ('integer', 'real') AND createdAt BETWEEN 1e8 AND 253402300799999
      THEN CAST(round(createdAt * CASE WHEN createdAt < 1e11 THEN 1000 ELSE 1 END) AS INTEGER) END
  ) VIRTUAL`

const recordIndexes = [
  createdMs,
  // Lists, newest first: of one tenant, and of all.
  sql`CREATE INDEX JobExecutionLog_tenantCreated ON JobExecutionLog (tenant, createdMs)`,
  sql`CREATE INDEX JobExecutionLog_created ON JobExecutionLog (createdMs)`,
  // Results that the pruner expires.
  sql`CREATE INDEX JobExecutionLog_expires ON JobExecutionLog (expiresAt)
      WHERE expiresAt IS NOT NULL AND resultExpiredAt IS NULL AND status = 'Succeeded' AND submittedBy IS NOT NULL`,
  // Finished records, those of other programs apart: the pruner may have to leave these, and must not scan them.
  sql`CREATE INDEX JobExecutionLog_ended ON JobExecutionLog (coalesce(endTime, createdAt))
      WHERE status IN ('Succeeded', 'Failed') AND submittedBy IS NOT NULL`,
  sql`CREATE INDEX JobExecutionLog_endedElsewhere ON JobExecutionLog (coalesce(endTime, createdAt))
      WHERE status IN ('Succeeded', 'Failed') AND submittedBy IS NULL`,
  sql`CREATE INDEX JobTombstone_age ON JobTombstone (expiredAt)`
]

const queueColumns = [
  sql`ALTER TABLE JobQueue ADD COLUMN tenant TEXT`,
  sql`ALTER TABLE JobQueue ADD COLUMN leaseMs INTEGER`,
  sql`ALTER TABLE JobQueue ADD COLUMN deadlineAt INTEGER`,
  sql`ALTER TABLE JobQueue ADD COLUMN cancelDueAt INTEGER`,
  sql`ALTER TABLE JobQueue ADD COLUMN resultRetentionMs INTEGER`,
  sql`ALTER TABLE JobQueue ADD COLUMN resultContentType TEXT`,
  sql`ALTER TABLE JobQueue ADD COLUMN resultFileName TEXT`,
  sql`UPDATE JobQueue SET tenant = (SELECT tenant FROM JobExecutionLog AS log WHERE log.jobId = JobQueue.jobId)`,
  sql`CREATE INDEX JobQueue_freeOfTenant ON JobQueue (tenant, type, availableAt) WHERE leaseToken IS NULL`,
  sql`CREATE INDEX JobQueue_deadline ON JobQueue (deadlineAt) WHERE deadlineAt IS NOT NULL`,
  sql`CREATE INDEX JobQueue_cancelDue ON JobQueue (cancelDueAt) WHERE cancelDueAt IS NOT NULL`,
  // The previous release does not write the tenant.
  sql`CREATE TRIGGER JobQueue_tenant AFTER INSERT ON JobQueue WHEN NEW.tenant IS NULL
    BEGIN
      UPDATE JobQueue SET tenant = (SELECT tenant FROM JobExecutionLog WHERE jobId = NEW.jobId) WHERE jobId = NEW.jobId;
    END`
]

/*
 * Bytes that no job refers to. The pruner removes them a few chunks at a time: to delete a gigabyte in one transaction
 * would block every writer. `holder` is the table and `id` the key in it. An upload has a row here while it arrives,
 * so that one that breaks off is pruned when its time has come.
 */
const orphans = [
  sql`CREATE TABLE OrphanedBytes (
    holder TEXT NOT NULL CHECK (holder IN ('JobInputChunk', 'JobResultChunk')),
    id TEXT NOT NULL, forgetAt INTEGER NOT NULL, PRIMARY KEY (holder, id)
  ) STRICT, WITHOUT ROWID`,
  sql`CREATE INDEX OrphanedBytes_due ON OrphanedBytes (forgetAt)`
]

const inputs = [
  sql`ALTER TABLE JobInput ADD COLUMN inputId TEXT`,
  sql`ALTER TABLE JobInput ADD COLUMN rawSizeBytes INTEGER`,
  sql`ALTER TABLE JobInput ADD COLUMN rawContentType TEXT`,
  sql`CREATE TABLE JobInputChunk (
    inputId TEXT NOT NULL, startOffset INTEGER NOT NULL, bytes BLOB NOT NULL, PRIMARY KEY (inputId, startOffset)
  ) STRICT`,
  sql`CREATE TRIGGER JobInput_deleted AFTER DELETE ON JobInput WHEN OLD.inputId IS NOT NULL
    BEGIN
      DELETE FROM OrphanedBytes WHERE holder = 'JobInputChunk' AND id = OLD.inputId;
      INSERT INTO OrphanedBytes (holder, id, forgetAt) VALUES ('JobInputChunk', OLD.inputId, 0);
    END`
]

const events = [
  sql`CREATE TABLE SanitizationEvent (
    jobId TEXT NOT NULL, kind TEXT NOT NULL, count INTEGER NOT NULL CHECK (count > 0), at TEXT NOT NULL
  ) STRICT`,
  sql`CREATE INDEX SanitizationEvent_jobId ON SanitizationEvent (jobId)`
]

// Deletes what belongs to one life of a job.
const discard = (row: 'NEW' | 'OLD') => sql.raw(`
    ${['JobQueue', 'JobInput', 'JobResult', 'SanitizationEvent'].map(table => `DELETE FROM ${table} WHERE jobId = ${row}.jobId;`).join('\n    ')}
    DELETE FROM OrphanedBytes WHERE holder = 'JobResultChunk' AND id = ${row}.jobId;
    INSERT INTO OrphanedBytes (holder, id, forgetAt)
      SELECT 'JobResultChunk', ${row}.jobId, 0 WHERE EXISTS (SELECT 1 FROM JobResultChunk WHERE jobId = ${row}.jobId);`)

const drawVersion = sql.raw(`
    INSERT INTO JobChange (jobId) VALUES (NEW.jobId);
    UPDATE JobExecutionLog SET version = last_insert_rowid() WHERE jobId = NEW.jobId;
    UPDATE JobExecutionLog SET createdAt = strftime('%Y-%m-%dT%H:%M:%fZ', 'now') WHERE jobId = NEW.jobId AND createdAt IS NULL;`)

const onInsert = sql`
  CREATE TRIGGER JobExecutionLog_inserted AFTER INSERT ON JobExecutionLog
  BEGIN
    SELECT RAISE(ABORT, 'a rowid is never negative') WHERE NEW.rowid < 0;
    DELETE FROM JobTombstone WHERE jobId = NEW.jobId;
    ${discard('NEW')}
    ${drawVersion}
  END`

const visibleColumns = [
  'type', 'status', 'startTime', 'endTime', 'resultUrl', 'errorDetails', 'tenant', 'progressPercent', 'createdAt',
  'submittedBy', 'attempt', 'progressDone', 'progressTotal', 'progressStage', 'progressMessage', 'etaSeconds',
  'cancelRequestedAt', 'cancelledAt', 'expiresAt', 'resultExpiredAt', 'hasPartialResult'
]

// BINARY: another program may have declared its columns case-insensitive. A creation time that is filled in is no
// change.
const visibleChange = sql.raw(visibleColumns.map(column => `OLD.${column} IS NOT NEW.${column} COLLATE BINARY`).join(' OR ')
  .replace('OLD.createdAt IS NOT', 'OLD.createdAt IS NOT NULL AND OLD.createdAt IS NOT'))

const onUpdate = sql`
  CREATE TRIGGER JobExecutionLog_updated AFTER UPDATE ON JobExecutionLog
  WHEN ${visibleChange}
    OR (NEW.version IS NOT OLD.version
        AND NOT EXISTS (SELECT 1 FROM JobChange WHERE version = NEW.version AND jobId = NEW.jobId
                        AND version = (SELECT max(version) FROM JobChange)))
  BEGIN ${drawVersion} END`

const onDelete = sql`
  CREATE TRIGGER JobExecutionLog_deleted AFTER DELETE ON JobExecutionLog
  BEGIN
    DELETE FROM JobTombstone WHERE jobId = OLD.jobId;
    ${discard('OLD')}
    INSERT INTO JobChange (jobId) VALUES (OLD.jobId);
    INSERT INTO JobTombstone (jobId, tenant, status, version, expiredAt)
      VALUES (OLD.jobId, OLD.tenant, OLD.status, last_insert_rowid(), strftime('%Y-%m-%dT%H:%M:%fZ', 'now'));
  END`

const triggers = [
  sql`DROP TRIGGER JobExecutionLog_inserted`, onInsert,
  sql`DROP TRIGGER JobExecutionLog_updated`, onUpdate,
  sql`DROP TRIGGER JobExecutionLog_deleted`, onDelete
]

export const up = async (db: Kysely<unknown>): Promise<void> => {
  await addRecordColumns(db, recordColumns)
  for (const statement of [...recordIndexes, ...orphans, ...queueColumns, ...inputs, ...events, ...triggers]) {
    await statement.execute(db)
  }
}
