import { type Kysely, type RawBuilder, sql } from 'kysely'
import type { JobInput } from '../../../job/input.ts'
import type { JobLookup } from '../../../job/job.ts'
import { isPostgres, keepStatement } from '../../sql/dialect.ts'
import type { ClaimFilter, QueueItem, Tx } from '../../store.ts'
import type { JobRow, Tables } from '../../tables.ts'
import { together } from '../../together.ts'
import { findInput, type InputRow, toInput } from '../inputs.ts'
import { findJob, recordColumnNames, selectRecord, toLookup } from '../jobs.ts'
import { resultSize } from '../results.ts'
import { findRun } from './attempts.ts'
import { availableQuery } from './queue.ts'

/** What a claim reads beside the record. `latestRun` as findRun has it; `sizeBytes`: of the result so far. */
type Beside = { input: JobInput | undefined, latestRun: number, sizeBytes: number }

/** A job that can be claimed, with all that a claim has to know of it. `type` is that of the queue. */
export type AvailableJob = Pick<QueueItem, 'jobId' | 'type' | 'maxAttempts' | 'timeoutMs'> & Beside & { lookup: JobLookup }

type Asked = { type: string, now: number }

const availableStatement = keepStatement((db, { type, now }: Asked) => availableQuery(db, type, null, now))
const availableOfTenantStatement = keepStatement((db, { type, now, tenant }: Asked & { tenant: string }) =>
  availableQuery(db, type, tenant, now))

const oldestItem = async (tx: Tx, { types, tenant }: ClaimFilter, now: number): Promise<QueueItem | undefined> => {
  let oldest: QueueItem & { seq: number } | undefined
  for (const type of types) {
    const { rows: [item] } = tenant === null
      ? await availableStatement(tx, { type, now })
      : await availableOfTenantStatement(tx, { type, now, tenant })
    if (item === undefined) continue
    const isOlder = oldest === undefined || item.availableAt < oldest.availableAt ||
      (item.availableAt === oldest.availableAt && item.seq < oldest.seq)
    if (isOlder) oldest = item
  }
  return oldest
}

const readBeside = async (tx: Tx, jobId: string): Promise<Beside> => {
  const [sizeBytes, input, latestRun] = await together(resultSize(tx, jobId), findInput(tx, jobId), findRun(tx, jobId, 0))
  return { sizeBytes, input, latestRun }
}

const oldestAvailable = async (tx: Tx, filter: ClaimFilter, now: number): Promise<AvailableJob | undefined> => {
  const item = await oldestItem(tx, filter, now)
  if (item === undefined) return undefined
  const [lookup, beside] = await together(findJob(tx, item.jobId), readBeside(tx, item.jobId))
  return { ...item, lookup, ...beside }
}

type AvailableRow = JobRow & Omit<InputRow, 'input'> & Pick<QueueItem, 'maxAttempts' | 'timeoutMs'> & {
  input: string | null, queuedType: string, seenVersion: number | null, latestRun: number | null, sizeBytes: number | null
}

const select = (table: string, columns: readonly string[]) =>
  sql.join(columns.map(column => sql`${sql.ref(`${table}.${column}`)} AS ${sql.raw(`"${column}"`)}`))

const foundColumns = ['queuedType', 'maxAttempts', 'timeoutMs', ...recordColumnNames]
const inputColumns = ['input', 'access', 'inputId', 'rawSizeBytes', 'rawContentType'] satisfies Array<keyof InputRow>

type Sought = { types: readonly string[], now: number, tenant: string | null, count: number | RawBuilder<number> }

// The head of each type is found without a lock, the oldest first; then the first job of these types that no other
// transaction has. So no more than one is locked, and a rare type does not wait behind many jobs of another. The item is
// locked before its record is looked for: of a job that was claimed since the statement began, Postgres locks all rows
// that one FOR UPDATE names before it sees that the job is no longer free, and its worker could not report meanwhile.
const lockAvailableQuery = (db: Kysely<Tables>, { types, now, tenant, count }: Sought) => {
  const isFree = sql`item.leaseToken IS NULL AND item.type = asked.type AND item.availableAt <= ${now}
    ${tenant === null ? sql`` : sql`AND item.tenant = ${tenant}`}`
  const record = selectRecord(db).where('log.jobId', '=', sql.ref<string>('item.jobId')).forNoKeyUpdate().skipLocked()
  return sql<AvailableRow>`
    SELECT ${select('found', foundColumns)}, ${select('input', inputColumns)},
      (SELECT seen.version FROM JobExecutionLog AS seen WHERE seen.jobId = found.jobId) AS "seenVersion",
      (SELECT max(run) FROM JobAttempt WHERE JobAttempt.jobId = found.jobId) AS "latestRun",
      (SELECT startOffset + length(bytes) FROM JobResultChunk WHERE JobResultChunk.jobId = found.jobId
        ORDER BY startOffset DESC LIMIT 1) AS "sizeBytes"
    FROM (
      SELECT requested.type FROM unnest(${types}::text[]) AS requested (type)
      CROSS JOIN LATERAL (
        SELECT item.availableAt, item.seq FROM JobQueue AS item CROSS JOIN (SELECT requested.type) AS asked
        WHERE ${isFree} ORDER BY item.availableAt, item.seq LIMIT 1
      ) AS head
      ORDER BY head.availableAt, head.seq OFFSET 0
    ) AS asked
    CROSS JOIN LATERAL (
      SELECT item.type AS queuedType, item.maxAttempts, item.timeoutMs, record.* FROM (
        SELECT item.* FROM JobQueue AS item WHERE ${isFree} ORDER BY item.availableAt, item.seq FOR UPDATE SKIP LOCKED
      ) AS item
      CROSS JOIN LATERAL (${record}) AS record
      LIMIT ${count}
    ) AS found
    LEFT JOIN LATERAL (SELECT * FROM JobInput WHERE JobInput.jobId = found.jobId OFFSET 0) AS input ON true
    LIMIT ${count}`
}

type AskedAtOnce = { types: readonly string[], now: number }

const one = sql.lit(1)
const lockAvailableStatement = keepStatement(
  (db, { types, now }: AskedAtOnce) => lockAvailableQuery(db, { types, now, tenant: null, count: one }),
  { deal: (db, { types, now, count }) => lockAvailableQuery(db, { types, now, tenant: null, count }) })
const lockAvailableOfTenantStatement = keepStatement(
  (db, { types, now, tenant }: AskedAtOnce & { tenant: string }) =>
    lockAvailableQuery(db, { types, now, tenant, count: one }),
  { deal: (db, { types, now, tenant, count }) => lockAvailableQuery(db, { types, now, tenant, count }) })

// All but the locked rows is as it was when the statement began. A run of the job that has begun and ended since then has
// changed the version of the record; what else such a run has changed is read again.
const besideOf = async (tx: Tx, row: AvailableRow): Promise<Beside> => {
  const { input, latestRun, sizeBytes } = row
  if (row.seenVersion !== row.version) return await readBeside(tx, row.jobId)
  return {
    input: input === null ? undefined : toInput({ ...row, input }),
    latestRun: latestRun ?? 0,
    sizeBytes: sizeBytes ?? 0
  }
}

const lockAvailable = async (
  tx: Tx, { types, tenant }: ClaimFilter, now: number
): Promise<AvailableJob | undefined> => {
  const { rows: [row] } = tenant === null
    ? await lockAvailableStatement(tx, { types, now })
    : await lockAvailableOfTenantStatement(tx, { types, now, tenant })
  if (row === undefined) return undefined
  const { jobId, queuedType: type, maxAttempts, timeoutMs } = row
  return { jobId, type, maxAttempts, timeoutMs, lookup: await toLookup(tx, row), ...await besideOf(tx, row) }
}

/**
 * The job that matches the filter, is not leased and has been available longest; no type waits for another. On Postgres
 * it comes with its record locked, and a job that is locked elsewhere is skipped: a transaction that begins at the queue
 * must not wait for a record.
 */
export const nextAvailable = (tx: Tx, filter: ClaimFilter, now: number): Promise<AvailableJob | undefined> =>
  isPostgres(tx) ? lockAvailable(tx, filter, now) : oldestAvailable(tx, filter, now)
