import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import type { Test } from 'tap'
import { openStore, type OpenStore } from '../../open.ts'

/** A database that another program made before the service came: what it ran, by the sqlite3 program. */
export const makeForeignDatabase = (t: Test, sql: string, path = join(t.testdir(), 'jobs.db')): string => {
  execFileSync('sqlite3', ['-bail', path], { input: `PRAGMA foreign_keys = OFF;\n${sql};` })
  return path
}

/** The table as an engine might have made it that knows nothing of the service: loose types, in another order and case. */
export const looseTable = `
  CREATE TABLE jobexecutionlog (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    STATUS VARCHAR(20),
    jobid VARCHAR(200) NOT NULL UNIQUE,
    starttime DATETIME,
    EndTime DATETIME,
    resulturl,
    ERRORDETAILS JSON,
    progresspercent FLOAT,
    priority INT NOT NULL DEFAULT 5,
    payload BLOB
  )`

/** A store on a table that was adopted. */
export const openAdopted = (t: Test): Promise<OpenStore> => openStore(t, makeForeignDatabase(t, looseTable))

/** Both kinds of table that the service works on. */
export const kindsOfStore: ReadonlyArray<{ kind: string, open: (t: Test) => Promise<OpenStore> }> = [
  { kind: 'our own table', open: openStore },
  { kind: 'an adopted table', open: openAdopted }
]
