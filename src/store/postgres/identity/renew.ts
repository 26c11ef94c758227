import { databaseNameOf } from '../../open/database-url.ts'
import { DatabaseUnusable } from '../../errors.ts'
import { lockMigrations, renewIncarnation } from './incarnation.ts'
import { openForProcess } from '../open.ts'

/**
 * Renews the incarnation of a database whose history was changed in a way that its identity does not show. Processes
 * that have it open notice, and open it again. Throws DatabaseUnusable.
 */
export const renewDatabase = async (url: string, monotonicNow: () => number): Promise<void> => {
  try {
    const { database } = await openForProcess(url, monotonicNow)
    try {
      await database.bulk.transaction().execute(async tx => {
        await lockMigrations(tx)
        await renewIncarnation(tx)
      })
    } finally {
      await database.close()
    }
  } catch (error) {
    throw new DatabaseUnusable(databaseNameOf(url), error instanceof Error ? error.message : String(error), { cause: error })
  }
}
