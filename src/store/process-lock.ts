import { realpathSync } from 'node:fs'
import SqliteDatabase from 'better-sqlite3'

/** Another service process works on this database. */
export class DatabaseInUse extends Error {
  constructor (path: string) {
    super(`another service process is using ${path}: several processes on one database are not supported by this version; stop the other one, or set DATABASE_URL to another file`)
    this.name = 'DatabaseInUse'
  }
}

/**
 * Keeps other service processes off this database, and only them: plain SQL clients go on as before. The lock is an
 * open transaction on a file beside the database, so the kernel gives it back when its holder dies, however it dies.
 * Returns what releases it. Throws DatabaseInUse.
 */
export const lockForProcess = (databasePath: string): (() => void) => {
  const lock = new SqliteDatabase(`${realpathSync(databasePath)}.lock`, { timeout: 0 })
  try {
    lock.exec('BEGIN EXCLUSIVE')
  } catch (error) {
    lock.close()
    if (error instanceof SqliteDatabase.SqliteError && error.code.startsWith('SQLITE_BUSY')) throw new DatabaseInUse(databasePath)
    throw error
  }
  return () => { lock.close() }
}
