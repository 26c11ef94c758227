import { join } from 'node:path'
import SqliteDatabase from 'better-sqlite3'
import type { Test } from 'tap'
import type { ChangeLog, JobReader } from '../../src/store/store.ts'
import { createChangeLog } from '../../src/store/sqlite/change-log.ts'
import { type Database, openDatabase } from '../../src/store/sqlite/database.ts'
import { createJobReader } from '../../src/store/sqlite/job-reader.ts'
import { migrate } from '../../src/store/sqlite/migrations/migrate.ts'
import { createTransact } from '../../src/store/sqlite/transact.ts'

export type OpenStore = { path: string, database: Database, transact: ReturnType<typeof createTransact>, store: JobReader, changeLog: ChangeLog }

/** A store on a file of the test's own (or on this one), closed when the test ends. */
export const openStore = async (t: Test, path = join(t.testdir(), 'jobs.db')): Promise<OpenStore> => {
  const database = openDatabase(path)
  t.teardown(database.close)
  await migrate(database.writer)
  const transact = createTransact({ database, now: () => performance.now() })
  return { path, database, transact, store: createJobReader({ database }), changeLog: createChangeLog({ database }) }
}

/** A connection that has nothing of the service in it, closed when the test ends. */
export const openForeign = (t: Test, path: string, pragma?: string): SqliteDatabase.Database => {
  const foreign = new SqliteDatabase(path)
  if (pragma !== undefined) foreign.pragma(pragma)
  t.teardown(() => { foreign.close() })
  return foreign
}
