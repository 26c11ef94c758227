import { type Database, openDatabase } from './database.ts'
import { migrate } from './migrations/migrate.ts'
import { lockForProcess } from './process-lock.ts'

/**
 * Opens the database for a service process: no other may have it, and its schema is of this release. Throws
 * DatabaseUnusable, DatabaseInUse, and what migration throws.
 */
export const openForProcess = async (path: string): Promise<{ database: Database, unlock: () => void }> => {
  const database = openDatabase(path)
  try {
    const unlock = lockForProcess(path)
    await migrate(database.writer)
    return { database, unlock }
  } catch (error) {
    await database.close()
    throw error
  }
}
