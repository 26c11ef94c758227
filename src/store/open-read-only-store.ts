import { openReadOnlyStore as openSqliteReadOnlyStore } from './sqlite/readers/read-only-store.ts'

/*
 * Apart from open-store.ts: a processor's thread reads, and loads neither migrations nor the query builder.
 */

/** The part of the store that processors read, in a thread of their own. */
export const openReadOnlyStore = openSqliteReadOnlyStore
