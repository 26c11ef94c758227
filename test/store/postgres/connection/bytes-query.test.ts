import { randomBytes } from 'node:crypto'
import { Kysely, sql } from 'kysely'
import t from 'tap'
import { parseConnectionUrl } from '../../../../src/store/postgres/connection/connection-url.ts'
import { runTransaction, toDialect } from '../../../../src/store/postgres/connection/driver.ts'
import { createPools } from '../../../../src/store/postgres/connection/pools.ts'
import type { Tables } from '../../../../src/store/tables.ts'
import { together } from '../../../../src/store/together.ts'
import { startPostgres } from '../../../helpers/postgres.ts'

const server = await startPostgres(t)
const writer = new Kysely<Tables>({ dialect: toDialect(createPools(parseConnectionUrl(await server.createDatabase(t))).writes) })
t.teardown(() => writer.destroy())
await sql`CREATE TABLE Given (number bigint PRIMARY KEY, name text, small bytea, large bytea, more bytea)`.execute(writer)

const large = randomBytes(300_000)

type Given = { number: number, name: string | null, small: Uint8Array | null, large: Uint8Array | null, more: Uint8Array | null }

const insert = (db: Kysely<Tables>, { number, name, small, large, more }: Given) =>
  sql`INSERT INTO Given VALUES (${number}, ${name}, ${small}, ${large}, ${more})`.execute(db)

t.test('large bytes arrive as they are, among other values, in any place', async t => {
  const small = Buffer.from([0, 1, 255])
  const rows: Given[] = [
    { number: 1, name: 'ü\u{1F600}', small, large, more: null },
    { number: 2, name: null, small: large, large: null, more: large.subarray(7) },
    { number: 2 ** 53 - 1, name: '', small: null, large: new Uint8Array(large), more: small },
    { number: 4, name: 'x'.repeat(50_000), small: large, large, more: large }
  ]
  await runTransaction(writer, async tx => await together(...rows.map(row => insert(tx, row))))
  const { rows: stored } = await sql<Given>`SELECT * FROM Given`.execute(writer)
  const toPlain = ({ number, name, ...bytes }: Given) =>
    [number, name, ...Object.values(bytes).map(each => each === null ? null : Buffer.from(each).toString('base64'))]
  t.same(stored.map(toPlain), rows.map(toPlain))
})

t.test('a statement that fails leaves its connection usable, and is prepared once', async t => {
  for (let round = 0; round < 3; round++) {
    await t.rejects(insert(writer, { number: 1, name: null, small: null, large, more: null }), { code: '23505' })
  }
  await insert(writer, { number: 5, name: null, small: null, large, more: null })
  const { rows } = await sql<{ count: number }>`
    SELECT count(*) AS count FROM pg_prepared_statements WHERE statement LIKE 'INSERT INTO Given%'`.execute(writer)
  t.same(rows, [{ count: 1 }])
})
