import { type Kysely, sql } from 'kysely'
import type { RecordColumn } from './record-columns.ts'

/*
 * The runs of a job: when each began and how it ended. No status shows them, so no version is drawn.
 *
 * `run` counts the claims of a job. `attempt` does not: a run that is released gives its number back. So `run` tells
 * the bytes of two runs apart, and `attempt` is what clients see. `leaseHash` and `endReport` are the hashes of the
 * lease token and of the report that ended the run: they recognize a report that is repeated because its answer was
 * lost.
 *
 * What 0001 says holds here too. The previous release writes no rows here: a run that it begins is missing, and one
 * that it ends stays open until the next claim.
 */

/** What a table of another program needs in order to be adopted as the record. */
export const recordColumns: readonly RecordColumn[] = []

const table = sql`
  CREATE TABLE JobAttempt (
    jobId TEXT NOT NULL,
    run INTEGER NOT NULL CHECK (run >= 1),
    attempt INTEGER NOT NULL CHECK (attempt >= 1),
    leaseHash TEXT NOT NULL,
    startedAt INTEGER NOT NULL,
    endedAt INTEGER,
    outcome TEXT CHECK (outcome IN ('succeeded', 'failed', 'cancelled', 'released', 'lease-lost', 'timed-out')),
    failureCode TEXT,
    failureMessage TEXT,
    endReport TEXT,
    PRIMARY KEY (jobId, run),
    CHECK ((endedAt IS NULL) = (outcome IS NULL)),
    CHECK ((failureCode IS NULL) = (failureMessage IS NULL))
  ) STRICT, WITHOUT ROWID`

// Triggers of their own: those that draw versions stay as they are. REPLACE fires no delete trigger, so an insert
// removes the runs of the row that it replaces.
const triggers = (['insert', 'delete'] as const).map(verb => sql.raw(`
  CREATE TRIGGER JobExecutionLog_attempts_${verb} AFTER ${verb.toUpperCase()} ON JobExecutionLog
  BEGIN DELETE FROM JobAttempt WHERE jobId = ${verb === 'insert' ? 'NEW' : 'OLD'}.jobId; END`))

export const up = async (db: Kysely<unknown>): Promise<void> => {
  for (const statement of [table, ...triggers]) await statement.execute(db)
}
