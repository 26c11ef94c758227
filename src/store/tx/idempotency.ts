import type { Tx } from '../store.ts'

/** What a key was used for. */
export type IdempotencyRecord = { requestHash: string, jobId: string, createdAt: number }

export const findIdempotencyKey = async (
  tx: Tx, tenant: string, key: string
): Promise<IdempotencyRecord | undefined> =>
  await tx
    .selectFrom('IdempotencyKey')
    .select(['requestHash', 'jobId', 'createdAt'])
    .where('tenant', '=', tenant)
    .where('key', '=', key)
    .executeTakeFirst()

/** Remembers a key, in place of what it stood for before. */
export const saveIdempotencyKey = async (
  tx: Tx, tenant: string, key: string, record: IdempotencyRecord
): Promise<void> => {
  await tx.replaceInto('IdempotencyKey').values({ tenant, key, ...record }).execute()
}

/** Removes keys first used before `before` (ms since 1970), at most `limit`. Returns how many. */
export const pruneIdempotencyKeys = async (tx: Tx, before: number, limit: number): Promise<number> => {
  const old = await tx
    .selectFrom('IdempotencyKey').select(['tenant', 'key']).where('createdAt', '<', before).orderBy('createdAt').limit(limit)
    .execute()
  for (const { tenant, key } of old) {
    await tx.deleteFrom('IdempotencyKey').where('tenant', '=', tenant).where('key', '=', key).execute()
  }
  return old.length
}
