import { type Kysely, sql } from 'kysely'
import { adoptRecord, firstColumns, isRecordThere } from './0001-adoption.ts'

/*
 * The record, its rules and its change log.
 *
 * Readers see every column of JobExecutionLog but `version`. Each visible change draws the next number of one
 * database-wide sequence, JobChange.version, in its own transaction. So the versions of a job only rise, also if its
 * row is deleted and inserted again, and a reader of JobChange in order misses no change, no matter which program
 * wrote it. What no reader sees (queue, lease, input) is in other tables: a heartbeat is no change.
 *
 * The triggers run inside other programs, so they need no SQLite newer than 3.37. The conflict clause of an outer
 * statement (INSERT OR IGNORE …) overrides those of statements inside a trigger, so no statement here can conflict.
 */

// REPLACE deletes without firing delete triggers (recursive_triggers is off by default), and a row can be deleted and
// inserted again, so an insert is checked against the existing row and against the tombstone.
const terminalIsFinal = sql`
  CREATE TRIGGER JobExecutionLog_terminal_insert BEFORE INSERT ON JobExecutionLog
  WHEN EXISTS (SELECT 1 FROM JobExecutionLog
               WHERE jobId = NEW.jobId AND status IN ('Succeeded', 'Failed') AND status IS NOT NEW.status)
    OR EXISTS (SELECT 1 FROM JobTombstone
               WHERE jobId = NEW.jobId AND status IN ('Succeeded', 'Failed') AND status IS NOT NEW.status)
  BEGIN SELECT RAISE(ABORT, 'BR-001: a terminal status is never left'); END`

const terminalIsFinalOnUpdate = sql`
  CREATE TRIGGER JobExecutionLog_terminal_update BEFORE UPDATE OF status ON JobExecutionLog
  WHEN OLD.status IN ('Succeeded', 'Failed') AND NEW.status IS NOT OLD.status
  BEGIN SELECT RAISE(ABORT, 'BR-001: a terminal status is never left'); END`

// The rowid is fixed, too: an update to another row's with OR REPLACE would remove that row without a delete trigger.
const jobIdIsFixed = sql`
  CREATE TRIGGER JobExecutionLog_jobId_update BEFORE UPDATE ON JobExecutionLog
  WHEN NEW.jobId IS NOT OLD.jobId OR NEW.rowid IS NOT OLD.rowid
  BEGIN SELECT RAISE(ABORT, 'a jobId is never changed'); END`

// In a BEFORE trigger the rowid of an insert that names none is -1, so onInsert rejects negative ones.
const rowIsNotDisplaced = sql`
  CREATE TRIGGER JobExecutionLog_rowid_insert BEFORE INSERT ON JobExecutionLog
  WHEN NEW.rowid >= 0 AND EXISTS (SELECT 1 FROM JobExecutionLog WHERE rowid = NEW.rowid AND jobId IS NOT NEW.jobId)
  BEGIN SELECT RAISE(ABORT, 'this rowid belongs to another job'); END`

// Deletes what belongs to one life of a job.
const discard = (row: 'NEW' | 'OLD') => sql.raw(
  ['JobQueue', 'JobInput', 'JobResult', 'JobResultChunk'].map(table => `DELETE FROM ${table} WHERE jobId = ${row}.jobId;`).join('\n    ')
)

const drawVersion = sql.raw(`
    INSERT INTO JobChange (jobId) VALUES (NEW.jobId);
    UPDATE JobExecutionLog SET
      version = last_insert_rowid(),
      createdAt = coalesce(createdAt, strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
    WHERE jobId = NEW.jobId;`)

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
  'submittedBy', 'attempt', 'progressDone', 'progressTotal', 'progressStage', 'progressMessage', 'etaSeconds'
]

const visibleChange = sql.raw(visibleColumns.map(column => `OLD.${column} IS NOT NEW.${column}`).join(' OR '))

// If another program writes the version, a new one is drawn. The version that this trigger itself writes is the newest
// number of the change log, with the id of this job.
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

const record = sql`
  CREATE TABLE JobExecutionLog (
    jobId TEXT NOT NULL PRIMARY KEY
      -- length() and GLOB see nothing behind a NUL character.
      CHECK (length(jobId) BETWEEN 1 AND 128 AND jobId NOT GLOB '*[^A-Za-z0-9._~-]*' AND instr(jobId, char(0)) = 0),
    type TEXT,
    status TEXT NOT NULL CHECK (status IN ('Queued', 'Running', 'Succeeded', 'Failed')),
    startTime TEXT,
    endTime TEXT,
    resultUrl TEXT,
    errorDetails TEXT,
    tenant TEXT,
    progressPercent REAL CHECK (progressPercent BETWEEN 0 AND 100),
    createdAt TEXT DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    version INTEGER NOT NULL DEFAULT 0,
    submittedBy TEXT,
    attempt INTEGER NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    progressDone REAL,
    progressTotal REAL,
    progressStage TEXT,
    progressMessage TEXT,
    etaSeconds INTEGER
  ) STRICT`

const beside = [
  sql`CREATE TABLE JobTombstone (
    jobId TEXT NOT NULL PRIMARY KEY, tenant TEXT, status TEXT NOT NULL,
    version INTEGER NOT NULL, expiredAt TEXT NOT NULL
  ) STRICT`,
  sql`CREATE TABLE JobChange (
    version INTEGER PRIMARY KEY AUTOINCREMENT,
    jobId TEXT NOT NULL,
    at INTEGER NOT NULL DEFAULT (CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER))
  ) STRICT`,
  sql`CREATE TABLE JobQueue (
    jobId TEXT NOT NULL PRIMARY KEY,
    type TEXT NOT NULL,
    maxAttempts INTEGER NOT NULL CHECK (maxAttempts >= 1),
    timeoutMs INTEGER,
    availableAt INTEGER NOT NULL,
    leaseToken TEXT,
    leaseHolder TEXT,
    leaseExpiresAt INTEGER,
    CHECK ((leaseToken IS NULL) = (leaseExpiresAt IS NULL))
  ) STRICT`,
  sql`CREATE INDEX JobQueue_free ON JobQueue (type, availableAt) WHERE leaseToken IS NULL`,
  sql`CREATE INDEX JobQueue_leased ON JobQueue (leaseExpiresAt) WHERE leaseToken IS NOT NULL`,
  sql`CREATE TABLE JobInput (
    jobId TEXT NOT NULL PRIMARY KEY, input TEXT NOT NULL, access TEXT NOT NULL
  ) STRICT`,
  sql`CREATE TABLE JobResult (
    jobId TEXT NOT NULL PRIMARY KEY, contentType TEXT NOT NULL, fileName TEXT NOT NULL,
    sizeBytes INTEGER NOT NULL, sha256 TEXT NOT NULL, inlineJson TEXT
  ) STRICT`,
  sql`CREATE TABLE JobResultChunk (
    jobId TEXT NOT NULL, startOffset INTEGER NOT NULL, bytes BLOB NOT NULL, PRIMARY KEY (jobId, startOffset)
  ) STRICT`,
  sql`CREATE TABLE IdempotencyKey (
    tenant TEXT NOT NULL, key TEXT NOT NULL, requestHash TEXT NOT NULL, jobId TEXT NOT NULL,
    createdAt INTEGER NOT NULL, PRIMARY KEY (tenant, key)
  ) STRICT, WITHOUT ROWID`,
  sql`CREATE INDEX IdempotencyKey_age ON IdempotencyKey (createdAt)`,
  sql`CREATE TABLE ServiceState (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL) STRICT`,
  sql`INSERT INTO ServiceState (name, value) VALUES ('incarnation', lower(hex(randomblob(8))))`
]

const triggers = [terminalIsFinal, terminalIsFinalOnUpdate, jobIdIsFixed, rowIsNotDisplaced, onInsert, onUpdate, onDelete]

/** What a table of another program needs in order to be adopted as the record. */
export const recordColumns = firstColumns

export const up = async (db: Kysely<unknown>): Promise<void> => {
  const isAdopted = await isRecordThere(db)
  for (const statement of isAdopted ? beside : [record, ...beside]) await statement.execute(db)
  if (isAdopted) await adoptRecord(db)
  for (const trigger of triggers) await trigger.execute(db)
}
