import t, { type Test } from 'tap'
import { openReadOnlyStore } from '../../../../src/store/sqlite/readers/read-only-store.ts'
import { readOnlyConformance } from '../../conformance/read-only.ts'
import { openForeign, openStore } from '../../open.ts'

/** A store whose database nothing else of the service has open. */
const open = async (t: Test) => {
  const { path, database } = await openStore(t)
  const foreign = openForeign(t, path, 'busy_timeout = 0')
  const insert = foreign.prepare("INSERT INTO JobInputChunk (inputId, startOffset, bytes) VALUES ('one', ?, ?)")
  await database.close()
  const store = openReadOnlyStore(path)
  t.teardown(store.close)
  return {
    store,
    run: (sql: string) => foreign.exec(sql),
    insertChunk: (startOffset: number, size: number) => insert.run(startOffset, Buffer.alloc(size, 'x')),
    /** SQLite leaves WAL mode for the last connection only. */
    isAlone: () => {
      try {
        return foreign.pragma('journal_mode = DELETE', { simple: true }) === 'delete'
      } catch {
        return false
      } finally {
        foreign.pragma('journal_mode = WAL')
      }
    }
  }
}

readOnlyConformance(t, open)

t.test('opens the file with the first read, and closes it whatever was left unread', async t => {
  const { store, insertChunk, isAlone } = await open(t)
  for (const [at, size] of [[0, 40], [40, 40], [80, 20]] as const) insertChunk(at, size)
  t.ok(isAlone(), 'it is not open before')
  t.equal((await store.readInput({ inputId: 'one', sizeBytes: 100 }).next()).value?.byteLength, 40)
  t.notOk(isAlone())
  await store.close()
  t.ok(isAlone())
})
