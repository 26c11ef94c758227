import { runService } from '../../../../src/lifecycle.ts'
import type { Transact, Tx } from '../../../../src/store/store.ts'

/*
 * A service in which every statement is a transaction of its own.
 */

await runService({
  parts: {
    createTransact: ({ database }) => {
      const transact: Transact = work => database.writer.connection().execute(connection => work(connection as Tx))
      return Object.assign(transact, { waiting: () => 0 })
    }
  }
})
