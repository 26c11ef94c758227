import t from 'tap'
import { openDatabase } from '../../src/store/sqlite/database.ts'
import { createListJobs } from '../../src/store/sqlite/readers/job-list.ts'
import type { OpenStoreUnderTest } from './conformance/store-under-test.ts'
import { topics } from './conformance/topics.ts'
import { openForeign, openStore, storeOn } from './open.ts'

const openSqlite: OpenStoreUnderTest = async t => {
  const { path, database, store, changeLog } = await openStore(t)
  const foreign = openForeign(t, path, 'synchronous = OFF')
  const unchecked = openForeign(t, path, 'ignore_check_constraints = ON')
  return {
    store,
    openAnother: async () => {
      const another = openDatabase(path)
      t.teardown(another.close)
      return storeOn(another)
    },
    sql: async statement => { foreign.exec(statement) },
    replacing: row => `INSERT OR REPLACE INTO JobExecutionLog (${Object.keys(row).join()})
      VALUES (${Object.values(row).map(value => `'${value}'`).join()})`,
    sqlUnchecked: async statement => { unchecked.exec(statement) },
    count: async from => foreign.prepare<[], number>(`SELECT count(*) FROM ${from}`).pluck().get() ?? 0,
    logged: async () => changeLog.after(0, Number.MAX_SAFE_INTEGER),
    listWith: rowsExaminedMax => createListJobs({ database, rowsExaminedMax }),
    pruneChanges: async keep => {
      foreign.prepare('DELETE FROM JobChange WHERE version <= ?').run(changeLog.head() - keep)
    }
  }
}

for (const [topic, conformance] of Object.entries(topics)) {
  t.test(topic, async t => { conformance(t, openSqlite) })
}
