import { type Kysely, type RawBuilder, sql } from 'kysely'
import type { Job, JobLookup } from '../../job/job.ts'
import { toIso } from '../../job/time.ts'
import { failureBytesMax, failureTextMax } from '../cut-failure.ts'
import { isPostgres, keepStatement } from '../sql/dialect.ts'
import { textMax, toColumns, toJob, toTombstone } from '../records.ts'
import type { Tx } from '../store.ts'
import type { JobRow, Tables } from '../tables.ts'

/*
 * Other programs write texts of any length. No read returns more of one than a view can show and one character, by which
 * the cut is noticed. The size comes first: a database knows it without reading the text.
 */
const cutText = (column: string, lengthMax: number) => {
  const [text, longest] = [sql.ref<string | null>(column), sql.lit(lengthMax)]
  return sql<string | null>`
    case when octet_length(${text}) > ${longest} then substr(${text}, 1, ${longest} + 1) else ${text} end`
}

const bytesMax = sql.lit(failureBytesMax)

const cutUnlessHuge = (column: string, lengthMax: number) =>
  sql<string | null>`
    case when octet_length(${sql.ref(column)}) > ${bytesMax} then '…' else ${cutText(column, lengthMax)} end`

const bytesPerCharacterMax = 4

// A time or a URL is of no use unless it is whole.
const wholeText = (column: string, lengthMax: number) => {
  const [text, longest] = [sql.ref<string | null>(column), sql.lit(lengthMax * bytesPerCharacterMax)]
  return sql<string | null>`case when octet_length(${text}) <= ${longest} then ${text} end`
}

const failureText = sql<string | null>`
  case when log.status <> 'Failed' then null
    when octet_length(log.errorDetails) > ${bytesMax}
    then 'The failure text is not shown. Its size in bytes: ' || octet_length(log.errorDetails)
    else ${cutText('log.errorDetails', failureTextMax)} end`

const cutColumns = {
  type: textMax.type,
  submittedBy: textMax.tenant,
  progressStage: textMax.stage,
  progressMessage: textMax.message
} as const

const wholeColumns = {
  startTime: textMax.time,
  endTime: textMax.time,
  createdAt: textMax.time,
  cancelRequestedAt: textMax.time,
  cancelledAt: textMax.time,
  expiresAt: textMax.time,
  resultExpiredAt: textMax.time,
  resultUrl: textMax.url
} as const

const toSelections = <Column extends string>(
  columns: Readonly<Record<Column, number>>, select: (column: string, lengthMax: number) => RawBuilder<string | null>
) => Object.entries<number>(columns).map(([column, lengthMax]) =>
    select(`log.${column}`, lengthMax).as(column as Column))

export const recordColumns = () => [
  'log.jobId as jobId', 'log.status as status', 'log.progressPercent as progressPercent', 'log.version as version',
  'log.attempt as attempt', 'log.progressDone as progressDone', 'log.progressTotal as progressTotal',
  'log.etaSeconds as etaSeconds', 'log.hasPartialResult as hasPartialResult', 'log.createdMs as createdMs',
  failureText.as('errorDetails'), cutText('log.tenant', textMax.tenant).as('tenant'), ...toSelections(cutColumns, cutUnlessHuge),
  ...toSelections(wholeColumns, wholeText)
] as const

/** The names of these columns. */
export const recordColumnNames = recordColumns().map(column =>
  typeof column === 'string' ? column.slice(column.lastIndexOf(' ') + 1) : column.alias as string)

/**
 * The columns of a record, of all rows. Each is named: another program may have made the table with its names in
 * another case, and a database may fold them.
 */
export const selectRecord = (db: Kysely<Tables>) => db.selectFrom('JobExecutionLog as log').select(recordColumns())

/** What is left of a job after its record was deleted. */
export const tombstoneQuery = (db: Kysely<Tables>, jobId: string | RawBuilder<string>) => db
  .selectFrom('JobTombstone')
  .select(['jobId', 'version', 'expiredAt', cutText('tenant', textMax.tenant).as('tenant')])
  .where('jobId', '=', jobId)

type ById = { jobId: string }

const recordStatement = keepStatement((db, { jobId }: ById) => selectRecord(db).where('log.jobId', '=', jobId), { each: {} })

const resultStatement = keepStatement((db, { jobId }: ById) => db
  .selectFrom('JobResult').select(['contentType', 'fileName', 'sizeBytes', 'sha256', 'inlineJson'])
  .where('jobId', '=', jobId), { each: {} })

const findResult = async (tx: Tx, jobId: string) => (await resultStatement(tx, { jobId })).rows[0] ?? null

// On Postgres every statement sees what was committed before it: since the one that found no record, another program may
// have inserted one, which deletes the tombstone. One statement reads both.
const remainsStatement = keepStatement((db, { jobId }: ById) => {
  const inserted = db.selectFrom('JobExecutionLog').select([
    'jobId', 'version', sql<string>`''`.as('expiredAt'), sql<string | null>`null`.as('tenant')
  ]).where('jobId', '=', jobId)
  return tombstoneQuery(db, jobId).unionAll(inserted)
})

const findRemains = async (tx: Tx, jobId: string): Promise<JobLookup | 'inserted'> => {
  const { rows: [found] } = await remainsStatement(tx, { jobId })
  if (found === undefined) return { kind: 'absent', jobId }
  return found.expiredAt === '' ? 'inserted' : toTombstone(found)
}

/** The record of a row. */
export const toLookup = async (tx: Tx, row: JobRow): Promise<JobLookup> =>
  toJob(row, row.status === 'Succeeded' ? await findResult(tx, row.jobId) : null)

/** The job as this transaction sees it, its own changes included. */
export const findJob = async (tx: Tx, jobId: string): Promise<JobLookup> => {
  for (;;) {
    const { rows: [row] } = await recordStatement(tx, { jobId })
    if (row !== undefined) return await toLookup(tx, row)
    const remains = await findRemains(tx, jobId)
    if (remains !== 'inserted') return remains
  }
}

const lockStatement = keepStatement((db, { jobId }: ById) =>
  db.selectFrom('JobExecutionLog').select('jobId').where('jobId', '=', jobId).forNoKeyUpdate(), { lock: {} })

/**
 * Locks a record until the transaction ends. A command that reads a record, decides and writes it calls this first, so
 * that no other transaction changes the record between the read and the write; all lock the record before its queue
 * item, so that none waits for another in a circle. On SQLite there is nothing to do: only one transaction writes at a
 * time, from its beginning on.
 */
export const lockJob = async (tx: Tx, jobId: string): Promise<void> => {
  if (isPostgres(tx)) await lockStatement(tx, { jobId })
}

const lockedRecordStatement = keepStatement((db, { jobId }: ById) =>
  selectRecord(db).where('log.jobId', '=', jobId).forNoKeyUpdate(), { lock: {} })

/** Locks a record as lockJob does, and returns the job as it is from then on. */
export const lockAndFindJob = async (tx: Tx, jobId: string): Promise<JobLookup> => {
  const { rows: [row] } = isPostgres(tx) ? await lockedRecordStatement(tx, { jobId }) : { rows: [] }
  return row === undefined ? await findJob(tx, jobId) : await toLookup(tx, row)
}

type Columns = ReturnType<typeof toColumns>

/** The columns that a transition may change. */
export const changingColumns = [
  'status', 'startTime', 'attempt', 'progressPercent', 'progressDone', 'progressTotal', 'progressStage',
  'progressMessage', 'etaSeconds', 'endTime', 'resultUrl', 'errorDetails', 'cancelRequestedAt', 'cancelledAt',
  'expiresAt', 'resultExpiredAt', 'hasPartialResult'
] as const satisfies ReadonlyArray<keyof Columns>

// By name, since the parameters of a kept statement are only known by their names.
const changing = (columns: Columns): Columns =>
  Object.fromEntries(changingColumns.map(column => [column, columns[column]])) as Columns

type NewRow = Columns & Pick<Job, 'jobId' | 'type' | 'tenant' | 'submittedBy'> & { createdAt: string }

/** The types of the columns of a record that are not text. */
export const columnTypes = {
  attempt: 'bigint',
  progressPercent: 'double precision',
  progressDone: 'double precision',
  progressTotal: 'double precision',
  etaSeconds: 'bigint',
  hasPartialResult: 'smallint'
} as const

const insertStatement = keepStatement((db, row: NewRow) => db.insertInto('JobExecutionLog').values({
  jobId: row.jobId,
  type: row.type,
  tenant: row.tenant,
  submittedBy: row.submittedBy,
  createdAt: row.createdAt,
  ...changing(row)
}), { each: columnTypes })

/** Adds a record of ours. Rejects if the id is taken. */
export const insertJob = async (tx: Tx, job: Job): Promise<void> => {
  const { jobId, type, tenant, submittedBy, createdAt } = job
  await insertStatement(tx, { jobId, type, tenant, submittedBy, createdAt: toIso(createdAt), ...toColumns(job) })
}

const updateQuery = (db: Kysely<Tables>, row: Columns & ById & { version: number }) => db
  .updateTable('JobExecutionLog as log').set(changing(row))
  .where('log.jobId', '=', row.jobId).where('log.version', '=', row.version)

const updateStatement = keepStatement(updateQuery)

const updateReturningStatement = keepStatement(
  (db, row: Parameters<typeof updateQuery>[1]) => updateQuery(db, row).returning(recordColumns()),
  { each: { ...columnTypes, version: 'bigint' } })

// On SQLite a trigger draws the version after the update, which RETURNING does not see.
const updateRow = async (tx: Tx, job: Job): Promise<JobRow | undefined> => {
  const { jobId, version } = job
  const values = { ...toColumns(job), jobId, version }
  if (isPostgres(tx)) return (await updateReturningStatement(tx, values)).rows[0]
  const { numAffectedRows } = await updateStatement(tx, values)
  return numAffectedRows === 1n ? (await recordStatement(tx, { jobId })).rows[0] : undefined
}

/**
 * Writes what a transition changed, and returns the job as it then is; its result is the one of the transition.
 * Undefined: the record is no longer at the version that the transition saw.
 */
export const updateJob = async (tx: Tx, job: Job): Promise<JobLookup | undefined> => {
  const row = await updateRow(tx, job)
  if (row === undefined) return undefined
  return job.state === 'succeeded' ? toJob(row, job.result) : await toLookup(tx, row)
}

/** Deletes the record and what belongs to it; the database leaves a tombstone. */
export const deleteJob = async (tx: Tx, jobId: string): Promise<void> => {
  await tx.deleteFrom('JobExecutionLog').where('jobId', '=', jobId).execute()
}
