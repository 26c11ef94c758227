import { type Kysely, sql } from 'kysely'
import { recordedTime } from './0001-recorded-time.ts'
import { tables } from './0001-tables.ts'
import { triggers } from './0001-triggers.ts'

/*
 * The whole schema: what the SQLite migrations up to 0009 promise, on Postgres 14 and later.
 */

export const up = async (db: Kysely<unknown>): Promise<void> => {
  const { rows: [current] } = await sql<{ schema: string | null }>`
    SELECT quote_ident(current_schema()) AS schema`.execute(db)
  if (typeof current?.schema !== 'string') throw new Error('the search_path names no schema that exists')
  for (const statement of [...tables, recordedTime, ...triggers(current.schema)]) await sql.raw(statement).execute(db)
}
