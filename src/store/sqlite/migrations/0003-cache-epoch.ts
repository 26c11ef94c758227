import { type Kysely, sql } from 'kysely'
import type { RecordColumn } from './record-columns.ts'

/*
 * What the service processes on this database have agreed on about their cache, and which processes these are; see
 * status/epoch. No version is drawn, since no job changes. The rows need no backup: a process that starts begins a new
 * epoch.
 */

/** What a table of another program needs in order to be adopted as the record. */
export const recordColumns: readonly RecordColumn[] = []

const statements = [
  sql`CREATE TABLE CacheEpoch (
    id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    name TEXT NOT NULL,
    mode TEXT NOT NULL CHECK (mode IN ('on', 'warm', 'off')),
    runId TEXT,
    reason TEXT,
    changedAt INTEGER NOT NULL,
    holdMs INTEGER NOT NULL,
    flaps INTEGER NOT NULL,
    CHECK (mode = 'off' OR runId IS NOT NULL)
  ) STRICT`,
  sql`INSERT INTO CacheEpoch (id, name, mode, changedAt, holdMs, flaps) VALUES (1, '', 'off', 0, 0, 0)`,
  sql`CREATE TABLE CacheNode (
    node TEXT NOT NULL PRIMARY KEY,
    epoch TEXT NOT NULL,
    mode TEXT NOT NULL CHECK (mode IN ('on', 'warm', 'off')),
    runId TEXT,
    beat INTEGER NOT NULL DEFAULT 0,
    isGone INTEGER NOT NULL DEFAULT 0 CHECK (isGone IN (0, 1))
  ) STRICT, WITHOUT ROWID`
]

export const up = async (db: Kysely<unknown>): Promise<void> => {
  for (const statement of statements) await statement.execute(db)
}
