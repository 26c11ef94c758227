import { type CompiledQuery, type Kysely, sql } from 'kysely'
import type { Job, JobLookup } from '../job/job.ts'
import { toEpochMs, toIso } from '../job/time.ts'
import type { Database } from './sqlite/database.ts'
import { type JobRow, type Tables, toColumns, toJob } from './tables.ts'
import { guardRead, type Tx } from './sqlite/transact.ts'

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

const recordQuery = (db: Kysely<Tables>, jobId: string) => selectRecord(db).where('log.jobId', '=', jobId)

/** The record of a row, to be compiled once. */
export const recordOfRowQuery = (db: Kysely<Tables>) => selectRecord(db).where(sql<number>`log.rowid`, '=', 0)

// Building the query takes several times as long as running it.
let recordCompiled: CompiledQuery | undefined

const findRow = async (tx: Tx, jobId: string): Promise<JobRow | undefined> => {
  recordCompiled ??= recordQuery(tx, '').compile()
  const { rows } = await tx.executeQuery({ ...recordCompiled, parameters: [jobId] })
  return rows[0] as JobRow | undefined
}

const tombstoneQuery = (db: Kysely<Tables>, jobId: string) => db
  .selectFrom('JobTombstone')
  .select(['jobId', 'version', 'tenant', 'expiredAt'])
  .where('jobId', '=', jobId)

type TombstoneRow = Pick<Tables['JobTombstone'], 'jobId' | 'version' | 'tenant' | 'expiredAt'>

const toLookup = (jobId: string, row: JobRow | undefined, tombstone: TombstoneRow | undefined): JobLookup => {
  if (row !== undefined) return toJob(row)
  if (tombstone === undefined) return { kind: 'absent', jobId }
  return { kind: 'tombstone', tombstone: { ...tombstone, expiredAt: toEpochMs(tombstone.expiredAt) ?? 0 } }
}

/** Reads of the record. Throws STORE_UNAVAILABLE. */
export type JobStore = {
  find: (jobId: string) => Promise<JobLookup>
  /** The version of a record, if there is one. */
  findVersion: (jobId: string) => Promise<number | undefined>
  /** Random value of this database, renewed when a backup is restored: versions of another one mean nothing here. */
  incarnation: () => string
  /** Throws unless the database answers. */
  ping: () => Promise<void>
  /** The SQL of `find`, for whoever wants to see its plan. */
  findSql: string
}

/**
 * Kysely compiles the point read once, and one prepared statement is kept for it: building and preparing it anew
 * would cost several times the read itself.
 */
export const createJobStore = ({ database }: { database: Database }): JobStore => {
  const { reader, writer } = database
  const findSql = recordQuery(writer, '').compile().sql
  const findRecord = reader.prepare<[string], JobRow>(findSql)
  const findTombstone = reader.prepare<[string], TombstoneRow>(tombstoneQuery(writer, '').compile().sql)
  const versionQuery = writer.selectFrom('JobExecutionLog').select('version').where('jobId', '=', '')
  const versionStatement = reader.prepare<[string], number>(versionQuery.compile().sql).pluck()
  // One snapshot for both tables, or a row deleted between the two reads would look as if it had never been.
  const findBoth = reader.transaction((jobId: string) => toLookup(jobId, findRecord.get(jobId), findTombstone.get(jobId)))
  const pingStatement = reader.prepare('SELECT value FROM ServiceState WHERE name = ?').pluck()
  // Async, so that every failure is a rejection, and so that another database can take longer.
  return {
    find: async jobId => guardRead(() => {
      const row = findRecord.get(jobId)
      return row === undefined ? findBoth(jobId) : toJob(row)
    }),
    findVersion: async jobId => guardRead(() => versionStatement.get(jobId)),
    incarnation: () => String(pingStatement.get('incarnation')),
    ping: async () => { guardRead(() => pingStatement.get('incarnation')) },
    findSql
  }
}

/** The job as this transaction sees it, its own changes included. */
export const findJob = async (tx: Tx, jobId: string): Promise<JobLookup> => {
  const row = await findRow(tx, jobId)
  const tombstone = row === undefined ? await tombstoneQuery(tx, jobId).executeTakeFirst() : undefined
  return toLookup(jobId, row, tombstone)
}

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
