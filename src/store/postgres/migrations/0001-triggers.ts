/*
 * The rules of the record, its versions and its change log.
 *
 * A BEFORE trigger draws the version into the row, and an AFTER trigger writes the log. An update or a deletion draws
 * while it has the row locked, so the versions of one job are in the order of the commits. An insertion may draw too
 * early: it waits for a transaction that deletes the row of this name, and Postgres then inserts without firing the
 * BEFORE trigger again. So the AFTER trigger compares the version with that of the tombstone and draws again.
 *
 * The triggers run in the transactions of other programs. They are SECURITY DEFINER, so that such a program needs
 * rights on the one table only, with a search_path of their own, in which pg_temp is last: a temporary table must not
 * take the place of the log. They are ENABLE ALWAYS, so that they fire for logical replication too, and for sessions
 * with session_replication_role = replica. Their names begin with zz: BEFORE triggers fire in the order of their names,
 * and these have to see what those of other programs have made of the row.
 *
 * A session plans their statements once, maybe while a table is empty, and would then read the whole of it for each row
 * until the server has counted it again. So they read no table without an index.
 */

const isEnd = (row: 'NEW' | 'OLD'): string => `${row}.status IN ('Succeeded', 'Failed')`

const nowMs = 'floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint'
const isoNow = 'to_char(clock_timestamp() AT TIME ZONE \'UTC\', \'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"\')'

/*
 * Who can read a row; an empty text is everyone. No token has a tenant of more than 256 UTF-16 units: what is cut off
 * after 257 characters matches none.
 */
const readersOf = (row: string): string => `left(coalesce(${row}.tenant, ''), 257)`

/*
 * Without this, a version that readers have seen could be lost in a crash and drawn again for another change. It holds
 * until the end of the transaction.
 */
const commitDurably = `IF current_setting('synchronous_commit') = 'off' THEN
    PERFORM set_config('synchronous_commit', 'on', true);
  END IF;`

const leavesEnd = `RAISE EXCEPTION 'BR-001: a terminal status is never left'
      USING ERRCODE = 'check_violation', TABLE = 'jobexecutionlog', COLUMN = 'status';`

const endedMs = 'CASE WHEN coalesce(NEW.endTime, \'\') = \'\' THEN NEW.createdMs ELSE JobTime(NEW.endTime) END'

const inserting = `
BEGIN
  NEW.version := nextval('JobVersion');
  -- Unique, and in the order of insertion, as a number that no program can choose.
  NEW.seq := NEW.version;
  IF NEW.createdAt IS NULL THEN
    NEW.createdAt := ${isoNow};
  END IF;
  NEW.createdMs := coalesce(JobTime(NEW.createdAt), ${nowMs});
  NEW.endedMs := ${endedMs};
  RETURN NEW;
END`

const inserted = `
DECLARE
  dead JobTombstone;
  readersOfDead text;
  drawn bigint;
BEGIN
  ${commitDurably}
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    -- The tombstone may be younger than the snapshot, which then does not have it. A conflict with a row that the
    -- snapshot does not have is a serialization failure.
    INSERT INTO JobTombstone (jobId, status, version, expiredAt) VALUES (NEW.jobId, NEW.status, 0, '')
      ON CONFLICT (jobId) DO NOTHING;
  END IF;
  DELETE FROM JobTombstone WHERE jobId = NEW.jobId RETURNING * INTO dead;
  IF dead.status IN ('Succeeded', 'Failed') AND NEW.status <> dead.status THEN
    ${leavesEnd}
  END IF;
  IF dead.version > 0 THEN
    readersOfDead := ${readersOf('dead')};
  END IF;
  IF dead.version > NEW.version THEN
    -- JobExecutionLog_updating draws for -1, and JobExecutionLog_updated writes the log.
    UPDATE JobExecutionLog AS log SET version = -1 WHERE log.jobId = NEW.jobId RETURNING log.version INTO drawn;
    UPDATE JobChange SET readersBefore = readersOfDead WHERE xid = pg_current_xact_id() AND version = drawn;
  ELSE
    INSERT INTO JobChange (version, jobId, readersBefore, readersAfter)
      VALUES (NEW.version, NEW.jobId, readersOfDead, ${readersOf('NEW')});
  END IF;
  -- Of a record that was deleted before its end and is inserted again: its callbacks wait again, unless a try was made.
  UPDATE JobCallback SET state = 'waiting', nextTryAt = NULL, isGone = 0
    WHERE jobId = NEW.jobId AND isGone = 1 AND body IS NULL;
  IF ${isEnd('NEW')} THEN
    UPDATE JobCallback SET state = 'pending', nextTryAt = ${nowMs}
      WHERE jobId = NEW.jobId AND state = 'waiting' AND isGone = 0;
  END IF;
  RETURN NULL;
END`

const visibleColumns = [
  'type', 'status', 'startTime', 'endTime', 'resultUrl', 'errorDetails', 'tenant', 'progressPercent', 'createdAt',
  'submittedBy', 'attempt', 'progressDone', 'progressTotal', 'progressStage', 'progressMessage', 'etaSeconds',
  'cancelRequestedAt', 'cancelledAt', 'expiresAt', 'resultExpiredAt', 'hasPartialResult'
]
const visible = (row: 'NEW' | 'OLD'): string => `(${visibleColumns.map(column => `${row}.${column}`).join(', ')})`

const updating = `
DECLARE
  isDrawnAgain boolean := NEW.version = -1;
BEGIN
  IF NEW.jobId <> OLD.jobId THEN
    RAISE EXCEPTION 'a jobId is never changed'
      USING ERRCODE = 'check_violation', TABLE = 'jobexecutionlog', COLUMN = 'jobid';
  END IF;
  IF ${isEnd('OLD')} AND NEW.status IS DISTINCT FROM OLD.status THEN
    ${leavesEnd}
  END IF;
  NEW.seq := OLD.seq;
  NEW.createdMs := OLD.createdMs;
  NEW.endedMs := OLD.endedMs;
  IF NEW.createdAt IS NULL THEN
    NEW.createdAt := ${isoNow};
  END IF;
  IF NEW.createdAt <> OLD.createdAt OR NEW.endTime IS DISTINCT FROM OLD.endTime THEN
    IF NEW.createdAt <> OLD.createdAt THEN
      NEW.createdMs := coalesce(JobTime(NEW.createdAt), OLD.createdMs);
    END IF;
    NEW.endedMs := ${endedMs};
  END IF;
  IF isDrawnAgain OR ${visible('NEW')}
    IS DISTINCT FROM ${visible('OLD')} THEN
    NEW.version := nextval('JobVersion');
  ELSE
    NEW.version := OLD.version;
  END IF;
  RETURN NEW;
END`

const updated = `
BEGIN
  ${commitDurably}
  INSERT INTO JobChange (version, jobId, readersBefore, readersAfter)
    VALUES (NEW.version, NEW.jobId, ${readersOf('OLD')}, ${readersOf('NEW')});
  IF ${isEnd('NEW')} AND NOT ${isEnd('OLD')} THEN
    UPDATE JobCallback SET state = 'pending', nextTryAt = ${nowMs}
      WHERE jobId = NEW.jobId AND state = 'waiting' AND isGone = 0;
  END IF;
  RETURN NULL;
END`

const deleted = `
DECLARE
  drawn bigint := nextval('JobVersion');
BEGIN
  ${commitDurably}
  DELETE FROM JobQueue WHERE jobId = OLD.jobId;
  DELETE FROM JobInput WHERE jobId = OLD.jobId;
  DELETE FROM JobResult WHERE jobId = OLD.jobId;
  DELETE FROM JobAttempt WHERE jobId = OLD.jobId;
  DELETE FROM SanitizationEvent WHERE jobId = OLD.jobId;
  -- The pruner removes them a few at a time: a gigabyte is too much for the transaction of another program.
  INSERT INTO OrphanedBytes (holder, id, forgetAt)
    SELECT 'JobResultChunk', OLD.jobId, 0 WHERE EXISTS (SELECT 1 FROM JobResultChunk WHERE jobId = OLD.jobId)
    ON CONFLICT (holder, id) DO UPDATE SET forgetAt = 0;
  -- Their URLs may be secrets. Those of a job that had not ended are called: it is gone.
  DELETE FROM JobCallback WHERE jobId = OLD.jobId AND isGone = 0 AND ${isEnd('OLD')};
  UPDATE JobCallback SET state = 'pending', nextTryAt = ${nowMs}, isGone = 1
    WHERE jobId = OLD.jobId AND state = 'waiting';
  INSERT INTO JobChange (version, jobId, readersBefore) VALUES (drawn, OLD.jobId, ${readersOf('OLD')});
  INSERT INTO JobTombstone (jobId, tenant, status, version, expiredAt)
    VALUES (OLD.jobId, OLD.tenant, OLD.status, drawn, ${isoNow})
    ON CONFLICT (jobId) DO UPDATE SET tenant = excluded.tenant, status = excluded.status, version = excluded.version,
      expiredAt = excluded.expiredAt;
  RETURN NULL;
END`

// SQLite has no TRUNCATE. It fires no trigger for the rows, so no reader would learn that they are gone.
const truncating = `
BEGIN
  RAISE EXCEPTION 'JobExecutionLog is never truncated: use DELETE'
    USING ERRCODE = 'check_violation', TABLE = 'jobexecutionlog';
END`

const inputDeleted = `
BEGIN
  INSERT INTO OrphanedBytes (holder, id, forgetAt) VALUES ('JobInputChunk', OLD.inputId, 0)
    ON CONFLICT (holder, id) DO UPDATE SET forgetAt = 0;
  RETURN NULL;
END`

// An index has it: see 0001-tables. No token has a tenant of 257 characters, so that it still belongs to none.
const cutting = `
BEGIN
  NEW.tenant := left(NEW.tenant, 257);
  RETURN NEW;
END`

type Trigger = { table: string, name: string, body: string, fires: string, each: string }

const trigger = (table: string, name: string, body: string, fires: string, each = 'ROW'): Trigger =>
  ({ table, name, body, fires, each })

const all: readonly Trigger[] = [
  trigger('JobExecutionLog', 'inserting', inserting, 'BEFORE INSERT'),
  trigger('JobExecutionLog', 'inserted', inserted, 'AFTER INSERT'),
  trigger('JobExecutionLog', 'updating', updating, 'BEFORE UPDATE'),
  trigger('JobExecutionLog', 'updated', updated, 'AFTER UPDATE', 'ROW WHEN (NEW.version <> OLD.version)'),
  trigger('JobExecutionLog', 'deleted', deleted, 'AFTER DELETE'),
  trigger('JobExecutionLog', 'truncating', truncating, 'BEFORE TRUNCATE', 'STATEMENT'),
  trigger('JobInput', 'deleted', inputDeleted, 'AFTER DELETE', 'ROW WHEN (OLD.inputId IS NOT NULL)'),
  trigger('JobQueue', 'cutting', cutting, 'BEFORE INSERT OR UPDATE OF tenant', 'ROW WHEN (length(NEW.tenant) > 257)')
]

const toStatements = (schema: string) => ({ table, name, body, fires, each }: Trigger): string[] => {
  const called = `${table}_${name}()`
  return [
    `CREATE FUNCTION ${called} RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
      SET search_path = pg_catalog, ${schema}, pg_temp SET enable_seqscan = off AS $function$${body}
      $function$`,
    // Else any role could attach it to a table of its own, and delete with the rights of the owner.
    `REVOKE ALL ON FUNCTION ${called} FROM PUBLIC`,
    `CREATE TRIGGER zz_${name} ${fires} ON ${table} FOR EACH ${each} EXECUTE FUNCTION ${called}`,
    `ALTER TABLE ${table} ENABLE ALWAYS TRIGGER zz_${name}`
  ]
}

/** The statements that make the triggers. `schema`: that of the tables, quoted. */
export const triggers = (schema: string): string[] => all.flatMap(toStatements(schema))
