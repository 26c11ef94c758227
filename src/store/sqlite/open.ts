import type SqliteDatabase from 'better-sqlite3'
import { assertIntegrity, chooseCheck } from './integrity-check.ts'
import { type Database, openDatabase } from './database.ts'
import { migrate } from './migrations/migrate.ts'
import { lockForProcess, shareAmongProcesses } from './process-lock.ts'

/** What processes that have ended left behind: their entries, and the names under which their workers held leases. */
export type StaleOwners = { nodes: readonly string[], holders: readonly string[] }

export type OpenedForProcess = { database: Database, releaseLock: () => void, stale: StaleOwners }

/** The name, or its beginning, under which the worker of a service process holds its leases. */
export const embeddedHolder = 'embedded'

const listIfThere = (reader: SqliteDatabase.Database, table: string, query: string): string[] => {
  const isThere = reader.prepare<[string]>("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?").get(table) !== undefined
  return isThere ? reader.prepare<[], string>(query).pluck().all() : []
}

const findStaleOwners = (reader: SqliteDatabase.Database): StaleOwners => ({
  nodes: listIfThere(reader, 'CacheNode', 'SELECT node FROM CacheNode'),
  holders: listIfThere(reader, 'JobQueue', `SELECT DISTINCT leaseHolder FROM JobQueue WHERE leaseHolder GLOB '${embeddedHolder}*'`)
})

/**
 * Opens the database for a service process: none that does not share its cache may have it, and its schema is of this
 * release. Throws DatabaseUnusable, DatabaseInUse, and what migration throws.
 */
export const openForProcess = async (path: string, isCacheShared: boolean): Promise<OpenedForProcess> => {
  const check = chooseCheck(path)
  const database = openDatabase(path)
  let stale: StaleOwners = { nodes: [], holders: [] }
  const inspect = () => {
    if (check !== undefined) assertIntegrity(path, check)
    stale = findStaleOwners(database.reader)
  }
  try {
    const releaseLock = isCacheShared ? await shareAmongProcesses(path, inspect) : lockForProcess(path)
    try {
      if (!isCacheShared) inspect()
      await migrate(database.writer)
    } catch (error) {
      releaseLock()
      throw error
    }
    return { database, releaseLock, stale }
  } catch (error) {
    await database.close()
    throw error
  }
}
