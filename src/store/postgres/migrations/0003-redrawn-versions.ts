import { type Kysely, sql } from 'kysely'

/*
 * The insert trigger draws a version again where the first one is older than that of the tombstone, and reports that to
 * the update trigger by the version -1. Another program could write it too, and draw a version without a change. What
 * others write into `version` is ignored; now -1 is as well, except within a trigger.
 *
 * The function is that of 0001 otherwise.
 */

const isoNow = 'to_char(clock_timestamp() AT TIME ZONE \'UTC\', \'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"\')'

const visibleColumns = [
  'type', 'status', 'startTime', 'endTime', 'resultUrl', 'errorDetails', 'tenant', 'progressPercent', 'createdAt',
  'submittedBy', 'attempt', 'progressDone', 'progressTotal', 'progressStage', 'progressMessage', 'etaSeconds',
  'cancelRequestedAt', 'cancelledAt', 'expiresAt', 'resultExpiredAt', 'hasPartialResult'
]
const visible = (row: 'NEW' | 'OLD'): string => `(${visibleColumns.map(column => `${row}.${column}`).join(', ')})`

const updating = `
DECLARE
  isDrawnAgain boolean := NEW.version = -1 AND pg_trigger_depth() > 1;
BEGIN
  IF NEW.jobId <> OLD.jobId THEN
    RAISE EXCEPTION 'a jobId is never changed'
      USING ERRCODE = 'check_violation', TABLE = 'jobexecutionlog', COLUMN = 'jobid';
  END IF;
  IF OLD.status IN ('Succeeded', 'Failed') AND NEW.status IS DISTINCT FROM OLD.status THEN
    RAISE EXCEPTION 'BR-001: a terminal status is never left'
      USING ERRCODE = 'check_violation', TABLE = 'jobexecutionlog', COLUMN = 'status';
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
    NEW.endedMs := CASE WHEN coalesce(NEW.endTime, '') = '' THEN NEW.createdMs ELSE JobTime(NEW.endTime) END;
  END IF;
  IF isDrawnAgain OR ${visible('NEW')}
    IS DISTINCT FROM ${visible('OLD')} THEN
    NEW.version := nextval('JobVersion');
  ELSE
    NEW.version := OLD.version;
  END IF;
  RETURN NEW;
END`

export const up = async (db: Kysely<unknown>): Promise<void> => {
  const { rows: [current] } = await sql<{ schema: string }>`SELECT quote_ident(current_schema()) AS schema`.execute(db)
  await sql.raw(`CREATE OR REPLACE FUNCTION JobExecutionLog_updating() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, ${current?.schema}, pg_temp SET enable_seqscan = off AS $function$${updating}
    $function$`).execute(db)
}
