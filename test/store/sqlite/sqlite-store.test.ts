import { join } from 'node:path'
import t from 'tap'
import { openSqliteStore } from '../../../src/store/sqlite/sqlite-store.ts'
import { openForeign } from '../open.ts'

t.test('a store that cannot be opened leaves no lock and no connection behind', async t => {
  const databasePath = join(t.testdir(), 'jobs.db')
  const open = () => openSqliteStore({ databasePath, isCacheShared: false, now: () => 0, monotonicNow: () => 0 })
  await (await open()).store.close()
  const foreign = openForeign(t, databasePath)
  const state = foreign.prepare<[], { name: string, value: string }>('SELECT name, value FROM ServiceState').all()
  foreign.exec('DELETE FROM ServiceState')
  await t.rejects(open(), { name: 'DatabaseUnusable', message: /: ServiceState has no incarnation$/ })
  t.equal(
    foreign.pragma('journal_mode = DELETE', { simple: true }), 'delete',
    'SQLite leaves WAL mode for the last connection only'
  )
  for (const { name, value } of state) {
    foreign.prepare('INSERT INTO ServiceState (name, value) VALUES (?, ?)').run(name, value)
  }
  await (await open()).store.close()
})
