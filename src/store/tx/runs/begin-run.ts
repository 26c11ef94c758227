import { type RawBuilder, sql } from 'kysely'
import type { Job, JobLookup } from '../../../job/job.ts'
import { toColumns, toJob } from '../../records.ts'
import { isPostgres, keepStatement } from '../../sql/dialect.ts'
import type { Tx } from '../../store.ts'
import type { JobRow } from '../../tables.ts'
import { together } from '../../together.ts'
import { changingColumns, columnTypes, recordColumnNames, recordColumns, updateJob } from '../jobs.ts'
import { type AttemptStart, insertAttempt } from './attempts.ts'
import { type RunLease, setLease } from './queue.ts'

type FirstRun = ReturnType<typeof toColumns> & AttemptStart & RunLease & { version: number }

const leaseColumns = ['leaseToken', 'leaseHolder', 'leaseMs', 'leaseExpiresAt', 'deadlineAt'] as const
const askedColumns = [
  'jobId', 'version', ...changingColumns, 'leaseHash', 'startedAt', ...leaseColumns
] as const satisfies ReadonlyArray<keyof FirstRun>

const types = {
  ...columnTypes,
  version: 'bigint',
  startedAt: 'bigint',
  leaseMs: 'bigint',
  leaseExpiresAt: 'bigint',
  deadlineAt: 'bigint'
} as const
const typeOf: Readonly<Record<string, string>> = types

const asked = (column: string) => sql.ref<never>(`asked.${column}`)
const list = (columns: readonly string[], toItem: (column: string) => RawBuilder<unknown>) =>
  sql.join(columns.map(toItem))
// The row is named twice: see shared-statement.ts.
const isAsked = (row: string) => sql<boolean>`
  ${sql.ref(row)} = ANY(ARRAY(SELECT asked.jobId FROM asked)) AND ${sql.ref(row)} = asked.jobId`

// Of a record that is not at its version, no part changes anything: the others join what the first has changed.
const firstRunStatement = keepStatement((db, run: FirstRun) => {
  const changed = db.updateTable('JobExecutionLog as log').from(sql`asked`.as('asked'))
    .set(Object.fromEntries(changingColumns.map(column => [column, asked(column)])))
    .where(sql<boolean>`${isAsked('log.jobId')} AND log.version = asked.version`)
    .returning(recordColumns())
  return sql<JobRow>`
    WITH asked AS (SELECT ${list(askedColumns, column =>
      sql`${run[column as keyof FirstRun]}::${sql.raw(typeOf[column] ?? 'text')} AS ${sql.ref(column)}`)}),
    changed AS (${changed}),
    attempt AS (
      INSERT INTO JobAttempt (jobId, run, attempt, leaseHash, startedAt)
      SELECT asked.jobId, asked.attempt, asked.attempt, asked.leaseHash, asked.startedAt
      FROM asked JOIN changed ON changed.jobId = asked.jobId
    ),
    lease AS (
      UPDATE JobQueue AS item
      SET ${list(leaseColumns, column => sql`${sql.ref(column)} = ${asked(column)}`)}, cancelDueAt = NULL
      FROM asked JOIN changed ON changed.jobId = asked.jobId WHERE ${isAsked('item.jobId')}
    )
    SELECT ${list(recordColumnNames, column => sql`${sql.ref(`changed.${column}`)} AS ${sql.raw(`"${column}"`)}`)}
    FROM changed`
}, { each: types })

/**
 * Begins a run of a job: writes the record that the claim makes of it, the attempt and the lease. `latestRun` as findRun
 * has it. Returns the job as it then is; undefined if the record is no longer at the version that the claim saw: then the
 * caller has to undo the transaction. It is the last that the transaction does.
 */
export const beginRun = async (
  tx: Tx, job: Job, attempt: AttemptStart, latestRun: number, lease: RunLease
): Promise<JobLookup | undefined> => {
  if (!isPostgres(tx) || latestRun > 0) {
    const [lookup] = await together(
      updateJob(tx, job), insertAttempt(tx, attempt, latestRun), setLease(tx, job.jobId, lease))
    return lookup
  }
  const run = { ...toColumns(job), ...attempt, ...lease, version: job.version }
  const { rows: [row] } = await firstRunStatement(tx, run, { isLast: true })
  // A job that was queued has no result.
  return row === undefined ? undefined : toJob(row, null)
}
