import type { Test } from 'tap'
import type { ReadOnlyStore } from '../../../src/store/store.ts'

/** A read-only store, and the database that it reads. */
export type ReadOnlyUnderTest = {
  store: ReadOnlyStore
  /** Runs plain SQL as another program. */
  run: (sql: string) => unknown
  /** Stores a chunk of the input `one`. */
  insertChunk: (startOffset: number, size: number) => unknown
}

const operator = { tenant: 'operator', allTenants: true }

const sizes = async (chunks: AsyncIterable<Uint8Array>) =>
  (await Array.fromAsync(chunks)).map(chunk => chunk.byteLength)

/** What the threads of processors read. */
export const readOnlyConformance = (t: Test, open: (t: Test) => Promise<ReadOnlyUnderTest>): void => {
  t.test('reads an input from its start each time, and never a shorter or a longer one', async t => {
    const { store, insertChunk } = await open(t)
    for (const [at, size] of [[0, 40], [40, 40], [80, 20]] as const) await insertChunk(at, size)
    const input = { inputId: 'one', sizeBytes: 100 }
    t.same(await sizes(store.readInput(input)), [40, 40, 20])
    t.same(await sizes(store.readInput(input)), [40, 40, 20])
    t.same(await sizes(store.readInput({ inputId: 'none', sizeBytes: 0 })), [])
    await t.rejects(sizes(store.readInput({ ...input, sizeBytes: 101 })), { message: 'A chunk of the input is missing.' })
    await t.rejects(sizes(store.readInput({ ...input, sizeBytes: 99 })), { message: 'The input is longer than it was.' })
  })

  t.test('records that are written while pages are read are in none of them', async t => {
    const { store, run } = await open(t)
    const rows = Array.from({ length: 2001 }, (_, at) => `('job-${at}', 'Queued')`)
    await run(`INSERT INTO JobExecutionLog (jobId, status) VALUES ${rows.join()}`)
    const { total, pages } = await store.records(operator, undefined)
    const read: number[] = []
    for await (const page of pages) {
      read.push(page.length)
      await run(`INSERT INTO JobExecutionLog (jobId, status) VALUES ('late-${read.length}', 'Queued')`)
    }
    t.equal(total, 2001)
    t.same(read, [2000, 1])
  })

  t.test('a reader gets the records of its tenant and those without one, of one type or of all', async t => {
    const { store, run } = await open(t)
    await run(`INSERT INTO JobExecutionLog
      (jobId, status, type, tenant, startTime, endTime, errorDetails, createdAt) VALUES
      ('1', 'Failed', 'a', 'mine', '2026-01-01T00:00:00Z', '2026-01-01T00:00:01Z', '{"code":"BAD","message":"m"}',
        '2026-01-01T00:00:00Z'),
      ('2', 'Queued', 'b', NULL, NULL, NULL, NULL, '2026-01-01T00:00:00Z'),
      ('3', 'Queued', 'a', 'other', NULL, NULL, NULL, '2026-01-01T00:00:00Z')`)
    const read = async (...filter: Parameters<typeof store.records>) => {
      const { total, pages } = await store.records(...filter)
      const records = (await Array.fromAsync(pages)).flat()
      t.equal(total, records.length)
      return records
    }
    const createdAt = Date.UTC(2026, 0, 1)
    t.same(await read({ tenant: 'mine', allTenants: false }, undefined), [
      { type: 'a', status: 'Failed', startedAt: createdAt, finishedAt: createdAt + 1000, createdAt, failureCode: 'BAD' },
      { type: 'b', status: 'Queued', startedAt: null, finishedAt: null, createdAt, failureCode: null }
    ])
    t.equal((await read({ tenant: 'mine', allTenants: false }, 'b')).length, 1)
    t.equal((await read(operator, 'a')).length, 2)
  })
}
