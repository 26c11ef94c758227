import { type CompiledQuery, type Kysely, sql } from 'kysely'
import type { Job, JobLookup } from '../../job/job.ts'
import { toIso } from '../../job/time.ts'
import { toColumns, toLookup } from '../records.ts'
import type { Tx } from '../store.ts'
import type { JobRow, Tables } from '../tables.ts'

// The facts of a stored result as one JSON array: a join with its table, mostly in vain, made the read ten times as dear.
const resultFacts = sql<string | null>`(
  select json_array(result.contentType, result.fileName, result.sizeBytes, result.sha256, result.inlineJson)
  from JobResult as result where result.jobId = log.jobId)`

// Of whichever row is asked for.
const selectRecord = (db: Kysely<Tables>) => db
  .selectFrom('JobExecutionLog as log')
  // Each by its name: SQLite answers with the names of the table, and another program may have made it in another case.
  .select([
    'log.jobId as jobId', 'log.type as type', 'log.status as status',
    'log.startTime as startTime', 'log.endTime as endTime', 'log.resultUrl as resultUrl',
    'log.errorDetails as errorDetails', 'log.tenant as tenant', 'log.progressPercent as progressPercent',
    'log.createdAt as createdAt', 'log.version as version', 'log.submittedBy as submittedBy',
    'log.attempt as attempt', 'log.progressDone as progressDone', 'log.progressTotal as progressTotal',
    'log.progressStage as progressStage', 'log.progressMessage as progressMessage', 'log.etaSeconds as etaSeconds',
    'log.cancelRequestedAt as cancelRequestedAt', 'log.cancelledAt as cancelledAt', 'log.expiresAt as expiresAt',
    'log.resultExpiredAt as resultExpiredAt', 'log.hasPartialResult as hasPartialResult',
    resultFacts.as('resultFacts')
  ])

/** The record of a job. */
export const recordQuery = (db: Kysely<Tables>, jobId: string) => selectRecord(db).where('log.jobId', '=', jobId)

/** The record of a row, to be compiled once. */
export const recordOfRowQuery = (db: Kysely<Tables>) => selectRecord(db).where(sql<number>`log.rowid`, '=', 0)

// Building the query takes several times as long as running it.
let recordCompiled: CompiledQuery | undefined

const findRow = async (tx: Tx, jobId: string): Promise<JobRow | undefined> => {
  recordCompiled ??= recordQuery(tx, '').compile()
  const { rows } = await tx.executeQuery({ ...recordCompiled, parameters: [jobId] })
  return rows[0] as JobRow | undefined
}

/** What is left of a job that was deleted. */
export const tombstoneQuery = (db: Kysely<Tables>, jobId: string) => db
  .selectFrom('JobTombstone')
  .select(['jobId', 'version', 'tenant', 'expiredAt'])
  .where('jobId', '=', jobId)

/** The job as this transaction sees it, its own changes included. */
export const findJob = async (tx: Tx, jobId: string): Promise<JobLookup> => {
  const row = await findRow(tx, jobId)
  const tombstone = row === undefined ? await tombstoneQuery(tx, jobId).executeTakeFirst() : undefined
  return toLookup(jobId, row, tombstone)
}

/**
 * Locks a record until the transaction ends. A command that reads a record, decides and writes it calls this first, so
 * that no other transaction changes the record between the read and the write; all lock the record before its queue item,
 * so that none waits for another in a circle. On SQLite there is nothing to do: only one transaction writes at a time,
 * from its beginning on. A database with concurrent writers locks the row (FOR NO KEY UPDATE on Postgres).
 */
export const lockJob = async (_tx: Tx, _jobId: string): Promise<void> => {}

/** A new record of ours. */
export const insertJob = async (tx: Tx, job: Job): Promise<void> => {
  const { jobId, type, tenant, submittedBy, createdAt } = job
  await tx
    .insertInto('JobExecutionLog')
    .values({ jobId, type, tenant, submittedBy, createdAt: toIso(createdAt), ...toColumns(job) })
    .execute()
}

/** Writes what a transition changed, if the record is still as the transition saw it. */
export const updateJob = async (tx: Tx, job: Job): Promise<boolean> => {
  const { numUpdatedRows } = await tx
    .updateTable('JobExecutionLog')
    .set(toColumns(job))
    .where('jobId', '=', job.jobId)
    .where('version', '=', job.version)
    .executeTakeFirst()
  return numUpdatedRows === 1n
}

/** Removes the record and what belongs to it; the database leaves a tombstone. */
export const deleteJob = async (tx: Tx, jobId: string): Promise<void> => {
  await tx.deleteFrom('JobExecutionLog').where('jobId', '=', jobId).execute()
}
