import { type Kysely, sql } from 'kysely'

/*
 * Callbacks to one host wait in a queue of each tenant, so that one tenant's do not stand before another's.
 */

export const up = async (db: Kysely<unknown>): Promise<void> => {
  await sql`CREATE INDEX JobCallback_dueOfQueue ON JobCallback (host, tenant, nextTryAt)
    WHERE nextTryAt IS NOT NULL`.execute(db)
}
