import { setTimeout as delay } from 'node:timers/promises'
import type { KyselyPlugin } from 'kysely'
import { runService } from '../../../../src/serve/run-service.ts'
import { sqlitePathOf } from '../../../../src/store/open/database-url.ts'
import { openStore } from '../../../../src/store/open/open-store.ts'
import { openDatabase } from '../../../../src/store/sqlite/database.ts'
import type { Transact, Tx } from '../../../../src/store/store.ts'

/*
 * A service in which every statement is a transaction of its own. The pause after each lets a kill find the half that
 * is written, which takes ten kills without it.
 */

const pause: KyselyPlugin = {
  transformQuery: ({ node }) => node,
  transformResult: async ({ result }) => {
    await delay(1)
    return result
  }
}

await runService({
  parts: {
    openStore: async needs => {
      const { store, ...opened } = await openStore(needs)
      const { writer } = openDatabase(sqlitePathOf(needs.databaseUrl) ?? '')
      const transact: Transact = work => writer.connection().execute(
        connection => work(connection.withPlugin(pause) as Tx)
      )
      return { store: { ...store, transact }, ...opened }
    }
  }
})
