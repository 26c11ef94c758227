import { sqlitePathOf } from './database-url.ts'
import type { ReadOnlyStore } from './store.ts'

/*
 * Apart from open-store.ts: a processor's thread reads, and loads no migrations.
 */

/** Opens the part of the store that processors read, in a thread of their own. `databaseUrl` as for openStore. */
export const openReadOnlyStore = async (databaseUrl: string): Promise<ReadOnlyStore> => {
  const databasePath = sqlitePathOf(databaseUrl)
  if (databasePath === null) {
    const { openReadOnlyStore: open } = await import('./postgres/readers/read-only-store.ts')
    return open(databaseUrl)
  }
  const { openReadOnlyStore: open } = await import('./sqlite/readers/read-only-store.ts')
  return open(databasePath)
}
