import { type Kysely, sql } from 'kysely'
import type { JobLookup, ResultFacts } from '../../job/job.ts'
import { isPostgres } from './dialect.ts'
import { toJob } from '../records.ts'
import type { JobRow, Tables } from '../tables.ts'
import { selectRecord } from '../tx/jobs.ts'

/** A record with the facts of its stored result as a JSON array; null without a result. */
export type RecordWithFacts = JobRow & { resultFacts: string | null }

// A poll reads record and result in one statement. A join with JobResult, which has no row for most jobs, took ten
// times as long as this subquery. The two databases have different names for the array, and Postgres a type for it.
const resultFacts = (db: Kysely<Tables>) => sql<string | null>`(
  select cast(${sql.raw(isPostgres(db) ? 'json_build_array' : 'json_array')}(
    result.contentType, result.fileName, result.sizeBytes, result.sha256, result.inlineJson) as text)
  from JobResult as result where result.jobId = log.jobId)`

/** Records with the facts of their results. */
export const selectWithFacts = (db: Kysely<Tables>) => selectRecord(db).select(resultFacts(db).as('resultFacts'))

type FactsArray = [contentType: string, fileName: string, sizeBytes: number, sha256: string, inlineJson: string | null]

const toFacts = (json: string | null): ResultFacts | null => {
  if (json === null) return null
  const [contentType, fileName, sizeBytes, sha256, inlineJson] = JSON.parse(json) as FactsArray
  return { contentType, fileName, sizeBytes, sha256, inlineJson }
}

export const toRecord = (row: RecordWithFacts): JobLookup => toJob(row, toFacts(row.resultFacts))
