import t from 'tap'
import { migrate } from '../../src/store/sqlite/migrations/migrate.ts'
import { openDatabase } from '../../src/store/sqlite/database.ts'
import { storeConformance } from './conformance.ts'
import { openForeign, openStore, storeOn } from './open.ts'

storeConformance(t, async t => {
  const { path, store, changeLog } = await openStore(t)
  const foreign = openForeign(t, path, 'synchronous = OFF')
  const unchecked = openForeign(t, path, 'ignore_check_constraints = ON')
  return {
    store,
    openAnother: async () => {
      const database = openDatabase(path)
      t.teardown(database.close)
      await migrate(database.writer)
      return storeOn(database)
    },
    sql: async statement => { foreign.exec(statement) },
    sqlUnchecked: async statement => { unchecked.exec(statement) },
    count: async from => foreign.prepare<[], number>(`SELECT count(*) FROM ${from}`).pluck().get() ?? 0,
    logged: async () => changeLog.after(0, Number.MAX_SAFE_INTEGER),
    pruneChanges: async keep => { foreign.prepare('DELETE FROM JobChange WHERE version <= ?').run(changeLog.head() - keep) }
  }
})
