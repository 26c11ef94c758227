import { DummyDriver, Kysely, PostgresAdapter, PostgresQueryCompiler, sql, SqliteAdapter, SqliteQueryCompiler } from 'kysely'
import t from 'tap'
import { keepStatement } from '../../../src/store/sql/dialect.ts'
import type { Tables } from '../../../src/store/tables.ts'

type Executed = { sql: string, parameters: readonly unknown[] }

/** A database that answers nothing, and what it was asked. */
const open = (kind: 'sqlite' | 'postgres') => {
  const executed: Executed[] = []
  const db = new Kysely<Tables>({
    dialect: {
      createAdapter: () => kind === 'postgres' ? new PostgresAdapter() : new SqliteAdapter(),
      createDriver: () => new DummyDriver(),
      createIntrospector: () => { throw new Error('no one asks') },
      createQueryCompiler: () => kind === 'postgres' ? new PostgresQueryCompiler() : new SqliteQueryCompiler()
    },
    log: ({ query: { sql, parameters } }) => { executed.push({ sql, parameters }) }
  })
  return { db, executed }
}

t.test('a kept statement is built once for each kind of database, and run with the values of each call', async t => {
  let built = 0
  const find = keepStatement((db, { jobId, limit }: { jobId: string, limit: number }) => {
    built++
    return db.selectFrom('JobQueue').select('type').where('jobId', '=', jobId).where('type', '=', 'report').limit(limit)
  })
  const [postgres, another, sqlite] = [open('postgres'), open('postgres'), open('sqlite')]
  await find(postgres.db, { jobId: 'a', limit: 1 })
  await find(another.db, { jobId: 'b', limit: 2 })
  await find(sqlite.db, { jobId: 'c', limit: 3 })
  await find(sqlite.db, { jobId: 'd', limit: 4 })
  t.equal(built, 2)
  t.match(postgres.executed, [{ sql: /"jobId" = \$1 and "type" = \$2 limit \$3$/, parameters: ['a', 'report', 1] }])
  t.match(another.executed, [{ parameters: ['b', 'report', 2] }])
  t.match(sqlite.executed, [
    { sql: /"jobId" = \? and "type" = \? limit \?$/, parameters: ['c', 'report', 3] }, { parameters: ['d', 'report', 4] }
  ])
})

t.test('a kept statement may be raw, and name a value twice', async t => {
  const { db, executed } = open('postgres')
  const find = keepStatement((_, { at, ids }: { at: number | null, ids: readonly string[] }) =>
    sql`SELECT ${at}, ${ids}::text[], ${at}`)
  await find(db, { at: null, ids: ['x', 'y'] })
  t.match(executed, [{ sql: 'SELECT $1, $2::text[], $3', parameters: [null, ['x', 'y'], null] }])
})
