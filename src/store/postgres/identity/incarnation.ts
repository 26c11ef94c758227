import { sql } from 'kysely'
import type { Tx } from '../../store.ts'
import { isRetried } from '../failures.ts'

/** Of the lock that migrations hold: a number that other programs on the database are not likely to use. */
export const lockNumber = 0x6a6f6273

/**
 * Keeps other processes from migrating, moving or renewing the database until the transaction ends. Several processes
 * may start at once: one migrates, and the others wait for it, however long that takes.
 */
export const lockMigrations = async (tx: Tx): Promise<void> => {
  await sql`SELECT pg_advisory_xact_lock(${sql.lit(lockNumber)})`.execute(tx)
}

/** What a start says after it has renewed the incarnation by itself. */
export const explainRenewal = 'the database is not the one of the last start, but a restored or a promoted one: its ' +
  'incarnation was renewed, so ETags of before match nothing, cursors of before are 410 and their followers list ' +
  'again, and caches begin empty'

// TRUNCATE waits for all transactions that have used the log, and what comes after waits behind it.
const patience = sql.lit('1s')

/*
 * DELETE takes minutes for a long log, and TRUNCATE takes none, but cannot begin while another program has written jobs
 * and not committed. Then the rows are deleted.
 */
const emptyLog = async (tx: Tx): Promise<void> => {
  await sql`SAVEPOINT emptying`.execute(tx)
  try {
    await sql`SET LOCAL lock_timeout = ${patience}`.execute(tx)
    await sql`TRUNCATE JobChange, JobChangeMark`.execute(tx)
    await sql`SET LOCAL lock_timeout TO DEFAULT`.execute(tx)
  } catch (error) {
    if (!isRetried(error)) throw error
    await sql`ROLLBACK TO SAVEPOINT emptying`.execute(tx)
    await sql`DELETE FROM JobChange`.execute(tx)
    await sql`DELETE FROM JobChangeMark`.execute(tx)
  }
}

/**
 * Begins another incarnation: the versions that are drawn from now on may have been drawn before. Positions of the old
 * change log mean nothing in it, and it may have transaction numbers of another cluster, so it is emptied.
 */
export const renewIncarnation = async (tx: Tx): Promise<void> => {
  await sql`UPDATE ServiceState SET value = substr(replace(gen_random_uuid()::text, '-', ''), 1, 16)
    WHERE name = 'incarnation'`.execute(tx)
  await emptyLog(tx)
  await sql`UPDATE JobChangePruned SET belowXid = '0', belowVersion = 0`.execute(tx)
}
