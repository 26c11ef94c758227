import { sqlitePathOf } from './database-url.ts'
import type { ReadOnlyStore } from '../store.ts'

/*
 * Apart from open-store.ts: a processor's thread reads, and loads no migrations.
 */

const open = async (databaseUrl: string): Promise<ReadOnlyStore> => {
  const databasePath = sqlitePathOf(databaseUrl)
  if (databasePath === null) {
    const { openReadOnlyStore: open } = await import('../postgres/readers/read-only-store.ts')
    return open(databaseUrl)
  }
  const { openReadOnlyStore: open } = await import('../sqlite/readers/read-only-store.ts')
  return open(databasePath)
}

/**
 * Opens the part of the store that processors read, in a thread of their own, with the first read: many jobs read
 * nothing, and its driver is a tenth of what a thread loads. `databaseUrl` as for openStore.
 */
export const openReadOnlyStore = (databaseUrl: string): ReadOnlyStore => {
  let opened: Promise<ReadOnlyStore> | undefined
  const store = (): Promise<ReadOnlyStore> => {
    opened ??= open(databaseUrl)
    return opened
  }
  return {
    records: async (access, type) => (await store()).records(access, type),
    readInput: async function * (stored) { yield * (await store()).readInput(stored) },
    close: async () => { await (await opened)?.close() }
  }
}
