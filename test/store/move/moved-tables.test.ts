import t from 'tap'
import { movedTables } from '../../../src/store/move/moved-tables.ts'
import { startPostgres } from '../../helpers/postgres.ts'
import { openStore as openSqlite } from '../open.ts'
import { openStore as openPostgres } from '../postgres/open.ts'

/* Both schemas have what a move copies, and what it leaves is named here. */

const ofOneDatabase = [
  'jobchange', 'jobchangepruned', 'jobchangemark', 'cacheepoch', 'cachenode', 'servicestate', 'kysely_migration',
  'kysely_migration_lock', 'recordedtime', 'replacedrecord', 'sqlite_sequence'
]

const list = (columns: Array<{ table: string, name: string }>) => columns
  .filter(({ table }) => !ofOneDatabase.includes(table.toLowerCase()))
  .map(({ table, name }) => `${table}.${name}`.toLowerCase()).toSorted()

const moved = list(movedTables.flatMap(({ name: table, columns }) => columns.map(({ name }) => ({ table, name }))))

t.test('SQLite has the tables and columns that move, and no others', async t => {
  const { database } = await openSqlite(t)
  const columns = database.reader.prepare<[], { table: string, name: string }>(`
    SELECT list.name AS "table", columns.name FROM pragma_table_list AS list, pragma_table_xinfo(list.name) AS columns
    WHERE list.schema = 'main' AND list.type = 'table' AND list.name NOT LIKE 'sqlite_%'`).all()
  t.same(list(columns), moved)
})

t.test('Postgres has them, with the types that are sent', async t => {
  const server = await startPostgres(t)
  const { url } = await openPostgres(t, server)
  const { rows } = await server.sql(`
    SELECT table_name AS "table", column_name AS name, udt_name AS type FROM information_schema.columns
    WHERE table_schema = 'public'`, new URL(url).pathname.slice(1))
  t.same(list(rows), moved)
  for (const { name: table, columns } of movedTables) {
    for (const { name, type } of columns) {
      const row = rows.find(row => row.table === table.toLowerCase() && row.name === name.toLowerCase())
      t.equal(row?.type, type, `${table}.${name}`)
    }
  }
})
