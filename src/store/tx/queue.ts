import { type Kysely, sql } from 'kysely'
import type { ContentInfo } from '../../job/content-info.ts'
import type { ClaimFilter, QueueItem, StuckBy, Tx } from '../store.ts'
import type { Tables } from '../tables.ts'

/** The right of one run, until `leaseExpiresAt`. `deadlineAt`: when the run has had its time, however alive it is. */
export type RunLease = { leaseToken: string, leaseHolder: string, leaseMs: number, leaseExpiresAt: number, deadlineAt: number | null }

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
  'jobId', 'type', 'tenant', 'maxAttempts', 'timeoutMs', 'availableAt', 'leaseToken', 'leaseHolder', 'leaseMs', 'leaseExpiresAt',
  'deadlineAt', 'cancelDueAt', 'resultRetentionMs', 'resultContentType', 'resultFileName'
] as const satisfies ReadonlyArray<keyof QueueItem>

export const enqueue = async (tx: Tx, item: Omit<QueueItem, keyof typeof noLease>): Promise<void> => {
  await tx.insertInto('JobQueue').values({ ...item, ...noLease }).execute()
}

export const dequeue = async (tx: Tx, jobId: string): Promise<void> => {
  await tx.deleteFrom('JobQueue').where('jobId', '=', jobId).execute()
  await tx.deleteFrom('JobInput').where('jobId', '=', jobId).execute()
}

export const findQueueItem = async (tx: Tx, jobId: string): Promise<QueueItem | undefined> =>
  await tx.selectFrom('JobQueue').select(itemColumns).where('jobId', '=', jobId).executeTakeFirst()

// One type at a time: only so does the index give the oldest without sorting all that wait.
export const availableQuery = (db: Kysely<Tables>, type: string, tenant: string | null, now: number) => {
  const free = db
    .selectFrom('JobQueue')
    .select(itemColumns)
    .select(sql<number>`rowid`.as('row'))
    .where('leaseToken', 'is', null)
    .where('type', '=', type)
    .where('availableAt', '<=', now)
    .orderBy('availableAt')
    .orderBy(sql`rowid`)
    .limit(1)
  return tenant === null ? free : free.where('tenant', '=', tenant)
}

export const stuckQuery = (db: Kysely<Tables>, by: StuckBy) => {
  const all = db.selectFrom('JobQueue').select(itemColumns)
  // Another program may run the job, without a lease.
  if ('cancelDueAt' in by) return all.where('cancelDueAt', '<=', by.cancelDueAt)
  const leased = all.where('leaseToken', 'is not', null)
  if ('holder' in by) return leased.where('leaseHolder', '=', by.holder)
  if ('deadlineAt' in by) return leased.where('deadlineAt', '<=', by.deadlineAt)
  return leased.where('leaseExpiresAt', '<=', by.leaseExpiredAt).orderBy('leaseExpiresAt')
}

/**
 * The job that matches the filter, is not leased and has been available longest; no type waits for another. On a database
 * with concurrent writers it comes with its record locked, and a job that is locked elsewhere is skipped (SKIP LOCKED):
 * who begins at the queue must not wait for a record.
 */
export const nextAvailable = async (tx: Tx, { types, tenant }: ClaimFilter, now: number): Promise<QueueItem | undefined> => {
  let oldest: QueueItem & { row: number } | undefined
  for (const type of types) {
    const item = await availableQuery(tx, type, tenant, now).executeTakeFirst()
    if (item === undefined) continue
    const isOlder = oldest === undefined || item.availableAt < oldest.availableAt ||
      (item.availableAt === oldest.availableAt && item.row < oldest.row)
    if (isOlder) oldest = item
  }
  return oldest
}

/** Jobs whose run has to be ended; at most `limit`. Locks and skips as nextAvailable does. */
export const findStuck = async (tx: Tx, by: StuckBy, limit: number): Promise<QueueItem[]> =>
  await stuckQuery(tx, by).limit(limit).execute()

/** A run begins, and nobody has asked it to stop yet. */
export const setLease = async (tx: Tx, jobId: string, lease: RunLease): Promise<void> => {
  await tx.updateTable('JobQueue').set({ ...lease, cancelDueAt: null }).where('jobId', '=', jobId).execute()
}

export const extendLease = async (tx: Tx, jobId: string, leaseExpiresAt: number): Promise<void> => {
  await tx.updateTable('JobQueue').set({ leaseExpiresAt }).where('jobId', '=', jobId).execute()
}

/** Gives the job back; it can be claimed from `availableAt` on. */
export const clearLease = async (tx: Tx, jobId: string, availableAt: number): Promise<void> => {
  await tx.updateTable('JobQueue').set({ ...noLease, availableAt }).where('jobId', '=', jobId).execute()
}

/** The run was told to stop, and is stopped at `cancelDueAt`; the first such time stands. */
export const setCancelDue = async (tx: Tx, jobId: string, cancelDueAt: number): Promise<void> => {
  await tx.updateTable('JobQueue').set({ cancelDueAt }).where('jobId', '=', jobId).where('cancelDueAt', 'is', null).execute()
}

/** The wish to stop was taken back. */
export const clearCancelDue = async (tx: Tx, jobId: string): Promise<void> => {
  await tx.updateTable('JobQueue').set({ cancelDueAt: null }).where('jobId', '=', jobId).execute()
}

export const setContentInfo = async (tx: Tx, jobId: string, { contentType, fileName }: ContentInfo): Promise<void> => {
  await tx.updateTable('JobQueue').set({ resultContentType: contentType, resultFileName: fileName }).where('jobId', '=', jobId).execute()
}

/** The queue of a job that another program gave to another tenant. */
export const setQueueTenant = async (tx: Tx, jobId: string, tenant: string | null): Promise<void> => {
  await tx.updateTable('JobQueue').set({ tenant }).where('jobId', '=', jobId).execute()
}
