import { type Kysely, PostgresAdapter } from 'kysely'

/**
 * Whether a statement is for Postgres. The statements of store/tx run on both databases, and differ only where Postgres
 * has several writers at once, or another word for the same.
 */
export const isPostgres = (db: Pick<Kysely<never>, 'getExecutor'>): boolean =>
  db.getExecutor().adapter instanceof PostgresAdapter
