import { sqlitePathOf } from './database-url.ts'
import type { OpenedStore } from '../store.ts'

/*
 * The only file that knows every database that the service can use. A process loads the driver of its own alone.
 */

/**
 * `databaseUrl` in the form of the configuration. `isCacheShared`: processes that share a cache may share the database;
 * any other has it alone. `now` in ms since 1970; `monotonicNow` in ms of a clock that only goes forward; `random` from
 * 0 to below 1. `onReplaced` is called once if another database stands in the place of the one that was opened, such as
 * a replica after a failover: the store has to be opened again.
 */
export type OpenStoreNeeds = {
  databaseUrl: string
  isCacheShared: boolean
  now: () => number
  monotonicNow: () => number
  random: () => number
  onReplaced: () => void
}

/**
 * Opens the store of a service process on a database that is migrated to this release. Throws DatabaseUnusable and
 * DatabaseInUse.
 */
export const openStore = async (
  { databaseUrl, isCacheShared, now, monotonicNow, random, onReplaced }: OpenStoreNeeds
): Promise<OpenedStore> => {
  const databasePath = sqlitePathOf(databaseUrl)
  if (databasePath === null) {
    const { openPostgresStore } = await import('../postgres/postgres-store.ts')
    return await openPostgresStore({ databaseUrl, now, monotonicNow, random, onReplaced })
  }
  const { openSqliteStore } = await import('../sqlite/sqlite-store.ts')
  return await openSqliteStore({ databasePath, isCacheShared, now, monotonicNow })
}
