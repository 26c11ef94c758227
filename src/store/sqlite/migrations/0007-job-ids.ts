import { type Kysely, sql } from 'kysely'
import type { RecordColumn } from './record-columns.ts'

/*
 * Rejects new rows that no client can ask for: in a URL, `.` and `..` are steps of its path (RFC 3986, 5.2.4), written
 * as %2e too. Rows of that name that are there stay, and can be updated and deleted.
 */

export const recordColumns: readonly RecordColumn[] = []

export const up = async (db: Kysely<unknown>): Promise<void> => {
  await sql`
    CREATE TRIGGER JobExecutionLog_jobId_insert BEFORE INSERT ON JobExecutionLog
    WHEN NEW.jobId IN ('.', '..') AND NOT EXISTS (SELECT 1 FROM JobExecutionLog WHERE jobId = NEW.jobId)
    BEGIN SELECT RAISE(ABORT, 'a jobId is not . or .., which no URL can name'); END`.execute(db)
}
