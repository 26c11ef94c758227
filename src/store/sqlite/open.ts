import type SqliteDatabase from 'better-sqlite3'
import { embeddedHolder } from '../../job/lease.ts'
import { assertIntegrity, chooseCheck } from './integrity-check.ts'
import type { StaleOwners } from '../store.ts'
import { type Database, openDatabase } from './database.ts'
import { migrate } from './migrations/migrate.ts'
import { lockForProcess, shareAmongProcesses } from './process-lock.ts'

export type OpenedForProcess = { database: Database, releaseLock: () => void, stale: StaleOwners }

const listIfThere = (reader: SqliteDatabase.Database, table: string, query: string): string[] => {
  const isThere =
    reader.prepare<[string]>("SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?").get(table) !== undefined
  return isThere ? reader.prepare<[], string>(query).pluck().all() : []
}

const findStaleOwners = (reader: SqliteDatabase.Database): StaleOwners => ({
  nodes: listIfThere(reader, 'CacheNode', 'SELECT node FROM CacheNode'),
  holders: listIfThere(
    reader, 'JobQueue', `SELECT DISTINCT leaseHolder FROM JobQueue WHERE leaseHolder GLOB '${embeddedHolder}*'`
  )
})

/**
 * Opens the database for a service process and migrates it to this release. No process that does not share its cache
 * can have it open. Throws DatabaseUnusable, DatabaseInUse, and what SQLite throws.
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
