import { type Kysely, sql } from 'kysely'
import type { RecordColumn } from './record-columns.ts'

/*
 * Callbacks to one host wait in a queue of each tenant, so that one tenant's do not stand before another's.
 */

/** What a table of another program needs in order to be adopted as the record. */
export const recordColumns: readonly RecordColumn[] = []

export const up = async (db: Kysely<unknown>): Promise<void> => {
  await sql`CREATE INDEX JobCallback_dueOfQueue ON JobCallback (host, tenant, nextTryAt)
    WHERE nextTryAt IS NOT NULL`.execute(db)
}
