import type { Kysely } from 'kysely'
import { selectWithFacts } from '../../sql/record-query.ts'
import type { Tables } from '../../tables.ts'
import { selectTextBytes } from '../../sql/text-bytes.ts'

/* Queries that are compiled and prepared once; the values here only make their parameters. */

/** The record of a job, by id. */
export const recordQuery = (db: Kysely<Tables>) => selectWithFacts(db).where('log.jobId', '=', '')

/** The record of a row, by seq. */
export const recordOfSeqQuery = (db: Kysely<Tables>) => selectWithFacts(db).where('log.seq', '=', 0)

/** The bytes of its long texts, by seq. */
export const textBytesOfSeqQuery = (db: Kysely<Tables>) => selectTextBytes(db).where('seq', '=', 0)
