import { openSqliteStore } from './sqlite/sqlite-store.ts'

/*
 * The only file that knows every database that the service can use.
 */

/**
 * Opens the store of a service process on a database that is migrated to this release. `isCacheShared`: processes that
 * share a cache may share the database; any other has it alone. Throws DatabaseUnusable and DatabaseInUse.
 */
export const openStore = openSqliteStore
