import t from 'tap'
import { copyChunks, literal } from '../../../../src/store/postgres/readers/copy-chunks.ts'
import { startPostgres } from '../../../helpers/postgres.ts'
import { openStore } from '../open.ts'

const server = await startPostgres(t)

const later = { isFirst: false }

t.test('reads the bytes of some rows as they are, and none of none', async t => {
  const { database } = await openStore(t, server)
  const every = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte))
  const query = (rows: string) => `SELECT startOffset, bytes FROM (VALUES ${rows}) AS chunk (startOffset, bytes) ORDER BY 1`
  const hex = `'\\x${every.toString('hex')}'::bytea`
  const three = query(`(0::bigint, ${hex}), (256, ''), (9007199254740991, ${hex})`)
  const chunks = [
    { startOffset: 0, bytes: every },
    { startOffset: 256, bytes: Buffer.alloc(0) },
    { startOffset: Number.MAX_SAFE_INTEGER, bytes: every }
  ]
  t.same(await copyChunks(database, three, later), chunks)
  t.same(await copyChunks(database, three, { isFirst: true }), chunks.slice(0, 1))
  t.same(await copyChunks(database, `${query(`(0::bigint, ${hex})`)} OFFSET 1`, later), [])
})

t.test('each chunk is as it was stored, and has memory of its own', async t => {
  const { database } = await openStore(t, server)
  // The server sends them in pieces that end anywhere, also within the header of a message.
  const sizes = [1, 60_000, 2 ** 18, 2 ** 18 - 27]
  const rows = sizes.map((size, index) => `(${index}::bigint, decode(repeat('0${index + 1}', ${size}), 'hex'))`)
  const statement = `SELECT startOffset, bytes FROM (VALUES ${rows.join(', ')}) AS chunk (startOffset, bytes) ORDER BY 1`
  for (let round = 0; round < 3; round++) {
    const chunks = await copyChunks(database, statement, later)
    for (const [index, { bytes }] of chunks.entries()) {
      t.ok(Buffer.alloc(sizes[index] ?? 0, index + 1).equals(bytes), `${sizes[index]} bytes`)
    }
    t.equal(new Set(chunks.map(({ bytes: { buffer } }) => buffer)).size, sizes.length)
  }
})

t.test('a statement that fails leaves the connection usable', async t => {
  const { database, store } = await openStore(t, server)
  for (let round = 0; round < 5; round++) {
    await t.rejects(copyChunks(database, 'SELECT nothing', later), { code: 'STORE_UNAVAILABLE', cause: { code: '42703' } })
  }
  await store.jobs.ping()
  t.equal((await copyChunks(database, "SELECT 0::bigint, 'x'::bytea", later)).length, 1)
})

t.test('texts cannot end a literal', async t => {
  const { database } = await openStore(t, server)
  for (const text of ["'", "\\'", "a'; DROP TABLE JobResultChunk; --", '$$', 'é\u{1F600}']) {
    const [chunk] = await copyChunks(database, `SELECT 0::bigint, convert_to(${literal(text)}, 'UTF8')`, later)
    t.equal(Buffer.from(chunk?.bytes ?? []).toString(), text)
  }
  t.equal(literal(2 ** 40 + 0.5), String(2 ** 40))
})
