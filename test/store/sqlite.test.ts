import t from 'tap'
import { sqlite3 } from '../helpers/service.ts'
import { storeConformance } from './conformance.ts'
import { openStore } from './open.ts'

storeConformance(t, async t => {
  const opened = await openStore(t)
  const sql = (statement: string) => sqlite3(opened.path, statement)
  return { ...opened, sql, sqlUnchecked: statement => sql(`PRAGMA ignore_check_constraints = ON; ${statement}`) }
})
