import type { CompiledQuery, Kysely } from 'kysely'
import type { Job, JobLookup } from '../../job/job.ts'
import { toIso } from '../../job/time.ts'
import { toColumns, toJob, toTombstone } from '../records.ts'
import type { Tx } from '../store.ts'
import type { JobRow, Tables } from '../tables.ts'

/**
 * The columns of a record, of all rows. Each is named: another program may have made the table with its names in
 * another case, and a database may fold them.
 */
export const selectRecord = (db: Kysely<Tables>) => db
  .selectFrom('JobExecutionLog as log')
  .select([
    'log.jobId as jobId', 'log.type as type', 'log.status as status',
    'log.startTime as startTime', 'log.endTime as endTime', 'log.resultUrl as resultUrl',
    'log.errorDetails as errorDetails', 'log.tenant as tenant', 'log.progressPercent as progressPercent',
    'log.createdAt as createdAt', 'log.version as version', 'log.submittedBy as submittedBy',
    'log.attempt as attempt', 'log.progressDone as progressDone', 'log.progressTotal as progressTotal',
    'log.progressStage as progressStage', 'log.progressMessage as progressMessage', 'log.etaSeconds as etaSeconds',
    'log.cancelRequestedAt as cancelRequestedAt', 'log.cancelledAt as cancelledAt', 'log.expiresAt as expiresAt',
    'log.resultExpiredAt as resultExpiredAt', 'log.hasPartialResult as hasPartialResult'
  ])

/** What is left of a job after its record was deleted. */
export const tombstoneQuery = (db: Kysely<Tables>, jobId: string) => db
  .selectFrom('JobTombstone')
  .select(['jobId', 'version', 'tenant', 'expiredAt'])
  .where('jobId', '=', jobId)

// To build the query takes several times as long as to run it. It is kept per database, by the adapter of its dialect.
const compiledQueries = new WeakMap<object, CompiledQuery<JobRow>>()

const findRow = async (tx: Tx, jobId: string): Promise<JobRow | undefined> => {
  const { adapter } = tx.getExecutor()
  const compiled = compiledQueries.get(adapter) ?? selectRecord(tx).where('log.jobId', '=', '').compile()
  compiledQueries.set(adapter, compiled)
  const { rows } = await tx.executeQuery<JobRow>({ ...compiled, parameters: [jobId] })
  return rows[0]
}

const findResult = async (tx: Tx, jobId: string) =>
  await tx.selectFrom('JobResult').select(['contentType', 'fileName', 'sizeBytes', 'sha256', 'inlineJson'])
    .where('jobId', '=', jobId).executeTakeFirst() ?? null

/** The job as this transaction sees it, its own changes included. */
export const findJob = async (tx: Tx, jobId: string): Promise<JobLookup> => {
  const row = await findRow(tx, jobId)
  if (row !== undefined) return toJob(row, row.status === 'Succeeded' ? await findResult(tx, jobId) : null)
  const tombstone = await tombstoneQuery(tx, jobId).executeTakeFirst()
  return tombstone === undefined ? { kind: 'absent', jobId } : toTombstone(tombstone)
}

/**
 * Locks a record until the transaction ends. A command that reads a record, decides and writes it calls this first, so
 * that no other transaction changes the record between the read and the write; all lock the record before its queue
 * item, so that none waits for another in a circle. On SQLite there is nothing to do: only one transaction writes at a
 * time, from its beginning on. A database with concurrent writers locks the row (FOR NO KEY UPDATE on Postgres).
 */
export const lockJob = async (_tx: Tx, _jobId: string): Promise<void> => {}

/** Adds a record of ours. Rejects if the id is taken. */
export const insertJob = async (tx: Tx, job: Job): Promise<void> => {
  const { jobId, type, tenant, submittedBy, createdAt } = job
  await tx
    .insertInto('JobExecutionLog')
    .values({ jobId, type, tenant, submittedBy, createdAt: toIso(createdAt), ...toColumns(job) })
    .execute()
}

/** Writes what a transition changed. False: the record is no longer at the version that the transition saw. */
export const updateJob = async (tx: Tx, job: Job): Promise<boolean> => {
  const { numUpdatedRows } = await tx
    .updateTable('JobExecutionLog')
    .set(toColumns(job))
    .where('jobId', '=', job.jobId)
    .where('version', '=', job.version)
    .executeTakeFirst()
  return numUpdatedRows === 1n
}

/** Deletes the record and what belongs to it; the database leaves a tombstone. */
export const deleteJob = async (tx: Tx, jobId: string): Promise<void> => {
  await tx.deleteFrom('JobExecutionLog').where('jobId', '=', jobId).execute()
}
