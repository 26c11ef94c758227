import { sql } from 'kysely'
import type { Write } from './transact.ts'

/** What the queue knows of a job of ours that is not finished. Times in milliseconds since 1970. */
export type QueueItem = {
  jobId: string
  type: string
  maxAttempts: number
  timeoutMs: number | null
  availableAt: number
  leaseToken: string | null
  leaseHolder: string | null
  leaseExpiresAt: number | null
}

export type Lease = { leaseToken: string, leaseHolder: string, leaseExpiresAt: number }

export const enqueue = async (
  write: Write, item: Pick<QueueItem, 'jobId' | 'type' | 'maxAttempts' | 'timeoutMs' | 'availableAt'>
): Promise<void> => {
  await write.insertInto('JobQueue').values({ ...item, leaseToken: null, leaseHolder: null, leaseExpiresAt: null }).execute()
}

export const dequeue = async (write: Write, jobId: string): Promise<void> => {
  await write.deleteFrom('JobQueue').where('jobId', '=', jobId).execute()
  await write.deleteFrom('JobInput').where('jobId', '=', jobId).execute()
}

export const findQueueItem = async (write: Write, jobId: string): Promise<QueueItem | undefined> =>
  await write.selectFrom('JobQueue').selectAll().where('jobId', '=', jobId).executeTakeFirst()

/** The job of one of these types that has been available longest and that nobody holds. */
export const nextAvailable = async (write: Write, types: readonly string[], now: number): Promise<QueueItem | undefined> =>
  await write
    .selectFrom('JobQueue')
    .selectAll()
    .where('leaseToken', 'is', null)
    .where('type', 'in', types)
    .where('availableAt', '<=', now)
    .orderBy('availableAt')
    .orderBy(sql`rowid`)
    .limit(1)
    .executeTakeFirst()

/** Jobs whose lease ran out, or that this holder left behind; at most `limit`. */
export const findAbandoned = async (
  write: Write, by: { expiredAt: number } | { holder: string }, limit: number
): Promise<QueueItem[]> => {
  const leased = write.selectFrom('JobQueue').selectAll().where('leaseToken', 'is not', null)
  const abandoned = 'holder' in by
    ? leased.where('leaseHolder', '=', by.holder)
    : leased.where('leaseExpiresAt', '<=', by.expiredAt)
  return await abandoned.orderBy('leaseExpiresAt').limit(limit).execute()
}

export const setLease = async (write: Write, jobId: string, lease: Lease): Promise<void> => {
  await write.updateTable('JobQueue').set(lease).where('jobId', '=', jobId).execute()
}

export const extendLease = async (write: Write, jobId: string, leaseExpiresAt: number): Promise<void> => {
  await write.updateTable('JobQueue').set({ leaseExpiresAt }).where('jobId', '=', jobId).execute()
}

/** Gives the job back; it can be claimed from `availableAt` on. */
export const clearLease = async (write: Write, jobId: string, availableAt: number): Promise<void> => {
  await write
    .updateTable('JobQueue')
    .set({ leaseToken: null, leaseHolder: null, leaseExpiresAt: null, availableAt })
    .where('jobId', '=', jobId)
    .execute()
}

/** What a job is to work on, and on whose behalf; both JSON text. */
export const insertInput = async (write: Write, input: { jobId: string, input: string, access: string }): Promise<void> => {
  await write.insertInto('JobInput').values(input).execute()
}

export const findInput = async (write: Write, jobId: string): Promise<{ input: string, access: string } | undefined> =>
  await write.selectFrom('JobInput').select(['input', 'access']).where('jobId', '=', jobId).executeTakeFirst()
