import { join } from 'node:path'
import SqliteDatabase from 'better-sqlite3'
import type { Test } from 'tap'
import { type Database, openDatabase } from '../../src/store/sqlite/database.ts'
import { migrate } from '../../src/store/sqlite/migrations/migrate.ts'
import { createSqliteStore } from '../../src/store/sqlite/sqlite-store.ts'
import type { Store, Transact } from '../../src/store/store.ts'

/** The table of the change log as it stands in the file. */
export type LoggedChanges = {
  /** The newest version drawn; 0 before the first. */
  head: () => number
  after: (version: number, limit: number) => Array<{ version: number, jobId: string }>
}

export type OpenStore = { path: string, database: Database, store: Store, transact: Transact, changeLog: LoggedChanges }

const createLoggedChanges = ({ reader }: Database): LoggedChanges => {
  const head = reader.prepare<[], number>("SELECT seq FROM sqlite_sequence WHERE name = 'JobChange'").pluck()
  const after = reader.prepare<[number, number], { version: number, jobId: string }>(
    'SELECT version, jobId FROM JobChange WHERE version > ? ORDER BY version LIMIT ?')
  return { head: () => head.get() ?? 0, after: (version, limit) => after.all(version, limit) }
}

/** The store on an open and migrated database. */
export const storeOn = (database: Database): Store =>
  createSqliteStore({ database, now: () => Date.now(), monotonicNow: () => performance.now() })

/** A store on a file of the test's own (or on this one), closed when the test ends. */
export const openStore = async (t: Test, path = join(t.testdir(), 'jobs.db')): Promise<OpenStore> => {
  const database = openDatabase(path)
  t.teardown(database.close)
  await migrate(database.writer)
  const store = storeOn(database)
  return { path, database, store, transact: store.transact, changeLog: createLoggedChanges(database) }
}

/** A connection that has nothing of the service in it, closed when the test ends. */
export const openForeign = (t: Test, path: string, pragma?: string): SqliteDatabase.Database => {
  const foreign = new SqliteDatabase(path)
  if (pragma !== undefined) foreign.pragma(pragma)
  t.teardown(() => { foreign.close() })
  return foreign
}
