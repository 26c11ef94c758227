import { sql } from 'kysely'
import type { Tx } from '../store.ts'

// Any number that other programs on the database are not likely to use.
const lockNumber = 0x6a6f6273

/**
 * Keeps other processes from migrating, moving or renewing the database until the transaction ends. Several processes
 * may start at once: one migrates, and the others wait for it, however long that takes.
 */
export const lockMigrations = async (tx: Tx): Promise<void> => {
  await sql`SELECT pg_advisory_xact_lock(${sql.lit(lockNumber)})`.execute(tx)
}

/**
 * Begins another incarnation: the versions that are drawn from now on may have been drawn before. Positions of the old
 * change log mean nothing in it, and it may have transaction numbers of another cluster, so it is emptied.
 */
export const renewIncarnation = async (tx: Tx): Promise<void> => {
  await sql`UPDATE ServiceState SET value = substr(replace(gen_random_uuid()::text, '-', ''), 1, 16)
    WHERE name = 'incarnation'`.execute(tx)
  await sql`DELETE FROM JobChange`.execute(tx)
  await sql`DELETE FROM JobChangeMark`.execute(tx)
  await sql`UPDATE JobChangePruned SET belowXid = '0', belowVersion = 0`.execute(tx)
}
