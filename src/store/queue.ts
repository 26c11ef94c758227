import { type CompiledQuery, type Kysely, sql } from 'kysely'
import type { Database } from './database.ts'
import type { Tables } from './tables.ts'
import { guardRead, type Write } from './transact.ts'

/** What the queue knows of a job of ours that is not finished. Times in milliseconds since 1970. */
export type QueueItem = Tables['JobQueue']

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

const availableQuery = (db: Kysely<Tables>, types: readonly string[], now: number) => db
  .selectFrom('JobQueue')
  .selectAll()
  .where('leaseToken', 'is', null)
  .where('type', 'in', types)
  .where('availableAt', '<=', now)
  .orderBy('availableAt')
  .orderBy(sql`rowid`)

/** Whose leases are past: those that ran out, or all of a holder that is gone. */
export type Abandoned = { expiredAt: number } | { holder: string }

const abandonedQuery = (db: Kysely<Tables>, by: Abandoned) => {
  const leased = db.selectFrom('JobQueue').selectAll().where('leaseToken', 'is not', null)
  const abandoned = 'holder' in by
    ? leased.where('leaseHolder', '=', by.holder)
    : leased.where('leaseExpiresAt', '<=', by.expiredAt)
  return abandoned.orderBy('leaseExpiresAt')
}

/** The job of one of these types that has been available longest and that nobody holds. */
export const nextAvailable = async (write: Write, types: readonly string[], now: number): Promise<QueueItem | undefined> =>
  await availableQuery(write, types, now).limit(1).executeTakeFirst()

/** Jobs whose lease is past; at most `limit`. */
export const findAbandoned = async (write: Write, by: Abandoned, limit: number): Promise<QueueItem[]> =>
  await abandonedQuery(write, by).limit(limit).execute()

/**
 * A look at the queue that takes no lock: an idle service leaves the database to other writers, and never waits for
 * them. Throws STORE_UNAVAILABLE.
 */
export type QueueLook = {
  hasAvailable: (types: readonly string[], now: number) => boolean
  hasAbandoned: (by: Abandoned) => boolean
}

export const createQueueLook = ({ database }: { database: Database }): QueueLook => {
  const { reader, writer } = database
  const finds = ({ sql, parameters }: CompiledQuery): boolean =>
    guardRead(() => reader.prepare(sql).get(...parameters) !== undefined)
  return {
    hasAvailable: (types, now) => finds(availableQuery(writer, types, now).limit(1).compile()),
    hasAbandoned: by => finds(abandonedQuery(writer, by).limit(1).compile())
  }
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
