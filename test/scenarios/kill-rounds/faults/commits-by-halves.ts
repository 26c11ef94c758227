import { runService } from '../../../../src/lifecycle.ts'
import { openStore } from '../../../../src/store/open-store.ts'
import { openDatabase } from '../../../../src/store/sqlite/database.ts'
import type { Transact, Tx } from '../../../../src/store/store.ts'

/*
 * A service in which every statement is a transaction of its own.
 */

await runService({
  parts: {
    openStore: async needs => {
      const { store, stale } = await openStore(needs)
      const { writer } = openDatabase(needs.databasePath)
      const transact: Transact = work => writer.connection().execute(connection => work(connection as Tx))
      return { store: { ...store, transact }, stale }
    }
  }
})
