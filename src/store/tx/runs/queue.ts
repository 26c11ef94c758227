import { type Kysely, type RawBuilder, sql } from 'kysely'
import type { ContentInfo } from '../../../job/job.ts'
import { isPostgres, keepStatement } from '../../sql/dialect.ts'
import type { QueueItem, StuckBy, Tx } from '../../store.ts'
import type { Tables } from '../../tables.ts'

/** The lease of one run. Times in ms since 1970; at `deadlineAt` the run is ended even if its worker is alive. */
export type RunLease = {
  leaseToken: string, leaseHolder: string, leaseMs: number, leaseExpiresAt: number, deadlineAt: number | null
}

const noLease = {
  leaseToken: null,
  leaseHolder: null,
  leaseMs: null,
  leaseExpiresAt: null,
  deadlineAt: null,
  cancelDueAt: null,
  resultContentType: null,
  resultFileName: null
}

// Named, since a database may fold the names of columns that are not.
const itemColumns = [
  'jobId', 'type', 'tenant', 'maxAttempts', 'timeoutMs', 'availableAt', 'leaseToken', 'leaseHolder', 'leaseMs',
  'leaseExpiresAt',
  'deadlineAt', 'cancelDueAt', 'resultRetentionMs', 'resultContentType', 'resultFileName'
] as const satisfies ReadonlyArray<keyof QueueItem>
const itemReferences = itemColumns.map(column => `JobQueue.${column}` as const)

type ById = { jobId: string }

type NewItem = Omit<QueueItem, keyof typeof noLease>

const enqueueStatement = keepStatement((db, item: NewItem) => db.insertInto('JobQueue').values(({ selectFrom }) => ({
  jobId: item.jobId,
  type: item.type,
  tenant: item.tenant,
  maxAttempts: item.maxAttempts,
  timeoutMs: item.timeoutMs,
  availableAt: item.availableAt,
  resultRetentionMs: item.resultRetentionMs,
  seq: selectFrom('JobExecutionLog').select('seq').where('jobId', '=', item.jobId)
})), { each: { maxAttempts: 'bigint', timeoutMs: 'bigint', availableAt: 'bigint', resultRetentionMs: 'bigint' } })

/** Adds a job to the queue, after its record: the queue is in the order of the records' `seq`. */
export const enqueue = async (tx: Tx, item: NewItem): Promise<void> => {
  await enqueueStatement(tx, item)
}

const dequeueStatement = keepStatement((db, { jobId }: ById) => db.deleteFrom('JobQueue').where('jobId', '=', jobId), {
  each: {}
})

/** Removes a job from the queue. Its input stays as long as its record: triggers delete both together. */
export const dequeue = async (tx: Tx, jobId: string): Promise<void> => {
  await dequeueStatement(tx, { jobId })
}

const itemStatement = keepStatement((db, { jobId }: ById) =>
  db.selectFrom('JobQueue').select(itemColumns).where('jobId', '=', jobId), { each: {} })

export const findQueueItem = async (tx: Tx, jobId: string): Promise<QueueItem | undefined> =>
  (await itemStatement(tx, { jobId })).rows[0]

/** The oldest available job of one type: only for one type does the index yield it without sorting all that wait. */
export const availableQuery = (
  db: Kysely<Tables>, type: string | RawBuilder<string>, tenant: string | null, now: number
) => {
  const free = db
    .selectFrom('JobQueue')
    .select([...itemColumns, 'seq'])
    .where('leaseToken', 'is', null)
    .where('type', '=', type)
    .where('availableAt', '<=', now)
    .orderBy('availableAt')
    .orderBy('seq')
    .limit(1)
  return tenant === null ? free : free.where('tenant', '=', tenant)
}

/** Jobs whose run has to be ended. By its order, a database that guesses how many are due takes the right index. */
export const stuckQuery = (db: Kysely<Tables>, by: StuckBy) => {
  const all = db.selectFrom('JobQueue').select(itemReferences)
  // Also without a lease: another program may run the job.
  if ('cancelDueAt' in by) return all.where('cancelDueAt', '<=', by.cancelDueAt).orderBy('cancelDueAt')
  const leased = all.where('leaseToken', 'is not', null)
  if ('holder' in by) return leased.where('leaseHolder', '=', by.holder)
  if ('deadlineAt' in by) return leased.where('deadlineAt', '<=', by.deadlineAt).orderBy('deadlineAt')
  return leased.where('leaseExpiresAt', '<=', by.leaseExpiredAt).orderBy('leaseExpiresAt')
}

/** Jobs whose run has to be ended; at most `limit`. Locks and skips as nextAvailable does. */
export const findStuck = async (tx: Tx, by: StuckBy, limit: number): Promise<QueueItem[]> => {
  const stuck = stuckQuery(tx, by).limit(limit)
  if (!isPostgres(tx)) return await stuck.execute()
  return await stuck.innerJoin('JobExecutionLog as log', 'log.jobId', 'JobQueue.jobId')
    .modifyEnd(sql`for update of JobQueue skip locked for no key update of log skip locked`).execute()
}

const leaseStatement = keepStatement((db, lease: RunLease & ById) => db.updateTable('JobQueue').set({
  leaseToken: lease.leaseToken,
  leaseHolder: lease.leaseHolder,
  leaseMs: lease.leaseMs,
  leaseExpiresAt: lease.leaseExpiresAt,
  deadlineAt: lease.deadlineAt,
  cancelDueAt: null
}).where('jobId', '=', lease.jobId), { each: { leaseMs: 'bigint', leaseExpiresAt: 'bigint', deadlineAt: 'bigint' } })

/** Begins a run; a cancellation of an earlier run does not concern it. */
export const setLease = async (tx: Tx, jobId: string, lease: RunLease): Promise<void> => {
  await leaseStatement(tx, { ...lease, jobId })
}

const leaseEndStatement = keepStatement((db, { jobId, leaseExpiresAt }: ById & { leaseExpiresAt: number }) =>
  db.updateTable('JobQueue').set({ leaseExpiresAt }).where('jobId', '=', jobId), { each: { leaseExpiresAt: 'bigint' } })

export const setLeaseEnd = async (tx: Tx, jobId: string, leaseExpiresAt: number): Promise<void> => {
  await leaseEndStatement(tx, { jobId, leaseExpiresAt })
}

/** Returns the job to the queue; it can be claimed from `availableAt` (ms since 1970) on. */
export const clearLease = async (tx: Tx, jobId: string, availableAt: number): Promise<void> => {
  await tx.updateTable('JobQueue').set({ ...noLease, availableAt }).where('jobId', '=', jobId).execute()
}

/** Sets when a cancelled run is ended if it does not stop by itself (ms since 1970). The first such time stands. */
export const setCancelDue = async (tx: Tx, jobId: string, cancelDueAt: number): Promise<void> => {
  await tx.updateTable('JobQueue').set({ cancelDueAt }).where('jobId', '=', jobId).where('cancelDueAt', 'is', null)
    .execute()
}

/** The cancellation was withdrawn. */
export const clearCancelDue = async (tx: Tx, jobId: string): Promise<void> => {
  await tx.updateTable('JobQueue').set({ cancelDueAt: null }).where('jobId', '=', jobId).execute()
}

export const setContentInfo = async (tx: Tx, jobId: string, { contentType, fileName }: ContentInfo): Promise<void> => {
  await tx.updateTable('JobQueue').set({
    resultContentType: contentType, resultFileName: fileName
  }).where('jobId', '=', jobId).execute()
}

/** Follows the record: another program gave the job to another tenant. */
export const setQueueTenant = async (tx: Tx, jobId: string, tenant: string | null): Promise<void> => {
  await tx.updateTable('JobQueue').set({ tenant }).where('jobId', '=', jobId).execute()
}
