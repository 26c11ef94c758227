import { openStore } from '../src/store/open/open-store.ts'
import type { Store } from '../src/store/store.ts'

/**
 * Opens the store of a database that processes may have open, for some work of an operator, and closes it again. What a
 * start would log of the database goes to stderr: after a restore, the next start does not find it replaced again.
 */
export async function withStore<Value> (databaseUrl: string, work: (store: Store) => Promise<Value>): Promise<Value> {
  const clocks = { now: () => Date.now(), monotonicNow: () => performance.now(), random: Math.random }
  const { store, warnings } = await openStore({ databaseUrl, isCacheShared: true, ...clocks, onReplaced: () => {} })
  for (const warning of warnings) process.stderr.write(`${warning}\n`)
  try {
    return await work(store)
  } finally {
    await store.close()
  }
}
