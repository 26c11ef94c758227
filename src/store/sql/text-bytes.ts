import { type Kysely, sql } from 'kysely'
import { countWithin } from '../../job/chunks.ts'
import type { Tables } from '../tables.ts'
import type { Tx } from '../store.ts'

/*
 * Other programs write texts of any length. A page or a batch is bounded by their bytes and not by its rows alone, so
 * that none holds the event loop for long. A database knows the size of a text without reading it.
 */

/** The bytes of the texts of a record that may be long. */
export const textBytes = sql<number>`(
  coalesce(octet_length(errorDetails), 0) + coalesce(octet_length(type), 0) + coalesce(octet_length(tenant), 0)
  + coalesce(octet_length(submittedBy), 0) + coalesce(octet_length(progressStage), 0)
  + coalesce(octet_length(progressMessage), 0))`

export const selectTextBytes = (db: Kysely<Tables>) =>
  db.selectFrom('JobExecutionLog').select(textBytes.as('bytes'))

/** 0 if there is no record. */
export const findTextBytes = async (tx: Tx, jobId: string): Promise<number> =>
  (await selectTextBytes(tx).where('jobId', '=', jobId).executeTakeFirst())?.bytes ?? 0

/** What one transaction may write or delete of such texts; to do so takes some 5 ms. */
export const writtenBytesMax = 4 * 1024 * 1024

/** The first of these rows, at least one, as far as one transaction may write them. */
export const takeWritable = <Row extends { bytes: number }>(rows: readonly Row[]): Row[] =>
  rows.slice(0, countWithin(rows.map(({ bytes }) => bytes), writtenBytesMax))
