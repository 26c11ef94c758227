import type { Tx } from '../store.ts'
import { skippingLocked } from '../sql/row-locks.ts'

/** What a key was used for. */
export type IdempotencyRecord = { requestHash: string, jobId: string, createdAt: number }

/**
 * Reserves a key for a new job, before that job exists. Returns undefined if the key is free, or was first used at
 * `keptSince` (ms since 1970) or earlier; else what it was used for. One statement does both: of several submissions
 * at once, on any database, one reserves the key, and the others wait until its transaction has ended.
 */
export const reserveIdempotencyKey = async (
  tx: Tx, tenant: string, key: string, record: IdempotencyRecord, keptSince: number
): Promise<IdempotencyRecord | undefined> => {
  const reserved = await tx
    .insertInto('IdempotencyKey')
    .values({ tenant, key, ...record })
    .onConflict(conflict => conflict
      .columns(['tenant', 'key'])
      .doUpdateSet(record)
      .where('IdempotencyKey.createdAt', '<=', keptSince))
    .returning('jobId')
    .executeTakeFirst()
  if (reserved !== undefined) return undefined
  return await tx
    .selectFrom('IdempotencyKey')
    .select(['requestHash', 'jobId', 'createdAt'])
    .where('tenant', '=', tenant)
    .where('key', '=', key)
    .executeTakeFirstOrThrow()
}

/** Removes keys first used before `before` (ms since 1970), at most `limit`. Returns how many. */
export const pruneIdempotencyKeys = async (tx: Tx, before: number, limit: number): Promise<number> => {
  const oldest = tx.selectFrom('IdempotencyKey').select(['tenant', 'key']).where('createdAt', '<', before)
    .orderBy('createdAt').limit(limit)
  const old = await skippingLocked(tx, oldest).execute()
  for (const { tenant, key } of old) {
    await tx.deleteFrom('IdempotencyKey').where('tenant', '=', tenant).where('key', '=', key).execute()
  }
  return old.length
}
