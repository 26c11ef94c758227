import type { SelectQueryBuilder } from 'kysely'
import { isPostgres } from './dialect.ts'
import type { Tx } from '../store.ts'

/*
 * SQLite has one writer at a time, from the beginning of its transaction on. On Postgres several write at once: what a
 * transaction reads in order to decide on it, it locks.
 */

/**
 * Locks the rows that a query finds until the transaction ends, and leaves out those that another has locked: it works
 * on them already.
 */
export const skippingLocked = <Database, From extends keyof Database, Row>(
  tx: Tx, query: SelectQueryBuilder<Database, From, Row>
): SelectQueryBuilder<Database, From, Row> => isPostgres(tx) ? query.forNoKeyUpdate().skipLocked() : query
