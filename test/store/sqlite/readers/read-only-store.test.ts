import t, { type Test } from 'tap'
import { openReadOnlyStore } from '../../../../src/store/sqlite/readers/read-only-store.ts'
import { openForeign, openStore } from '../../open.ts'

const operator = { tenant: 'operator', allTenants: true }

/** A store with an input of 100 bytes in three chunks. */
const open = async (t: Test) => {
  const { path, database } = await openStore(t)
  const foreign = openForeign(t, path, 'busy_timeout = 0')
  for (const [at, size] of [[0, 40], [40, 40], [80, 20]]) {
    foreign.prepare("INSERT INTO JobInputChunk (inputId, startOffset, bytes) VALUES ('one', ?, ?)").run(
      at, Buffer.alloc(size ?? 0, 'x')
    )
  }
  await database.close()
  const store = openReadOnlyStore(path)
  t.teardown(store.close)
  return {
    foreign,
    store,
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

const sizes = async (chunks: AsyncIterable<Uint8Array>) => (await Array.fromAsync(chunks)).map(
  chunk => chunk.byteLength
)

t.test('opens the file with the first read, and closes it whatever was left unread', async t => {
  const { store, isAlone } = await open(t)
  t.ok(isAlone(), 'it is not open before')
  t.equal((await store.readInput({ inputId: 'one', sizeBytes: 100 }).next()).value?.byteLength, 40)
  t.notOk(isAlone())
  await store.close()
  t.ok(isAlone())
})

t.test('reads an input from its start each time, and never a shorter or a longer one', async t => {
  const { store } = await open(t)
  const input = { inputId: 'one', sizeBytes: 100 }
  t.same(await sizes(store.readInput(input)), [40, 40, 20])
  t.same(await sizes(store.readInput(input)), [40, 40, 20])
  t.same(await sizes(store.readInput({ inputId: 'none', sizeBytes: 0 })), [])
  await t.rejects(sizes(store.readInput({ ...input, sizeBytes: 101 })), { message: 'A chunk of the input is missing.' })
  await t.rejects(sizes(store.readInput({ ...input, sizeBytes: 99 })), { message: 'The input is longer than it was.' })
})

t.test('records that are written while pages are read are in none of them', async t => {
  const { store, foreign } = await open(t)
  const insert = foreign.prepare("INSERT INTO JobExecutionLog (jobId, status) VALUES (?, 'Queued')")
  for (let at = 0; at < 2001; at++) insert.run(`job-${at}`)
  const { total, pages } = await store.records(operator, undefined)
  const read: number[] = []
  for await (const page of pages) {
    read.push(page.length)
    insert.run(`late-${read.length}`)
  }
  t.equal(total, 2001)
  t.same(read, [2000, 1])
})
