import { sql } from 'kysely'
import type { Tx } from '../store.ts'

/** A time in which reports of workers could not be recorded. In ms since 1970. */
export type LostTime = { beganAt: number, endedAt: number }

const creditedUntil = 'leasesCreditedUntil'

const findCreditedUntil = async (tx: Tx): Promise<number> => {
  const row = await tx.selectFrom('ServiceState').select('value').where('name', '=', creditedUntil).executeTakeFirst()
  return Number(row?.value ?? 0)
}

const creditOne = async (tx: Tx, { beganAt, endedAt }: LostTime, graceMs: number): Promise<void> => {
  const lostMs = endedAt - beganAt
  await tx.updateTable('JobQueue').set({ leaseExpiresAt: sql`leaseExpiresAt + ${lostMs}` })
    .where('leaseToken', 'is not', null)
    .where(sql<boolean>`leaseExpiresAt <= ${beganAt} + coalesce(leaseMs, leaseExpiresAt)`).execute()
  await tx.updateTable('JobQueue').set({ cancelDueAt: sql`cancelDueAt + ${lostMs}` })
    .where('cancelDueAt', '<=', beganAt + graceMs).execute()
}

/**
 * Extends the leases that were held when time was lost by as much, and the `graceMs` of cancellations too. Time that
 * another process has credited counts once: a lock on the database stops all processes alike.
 */
export const creditLostTime = async (tx: Tx, times: readonly LostTime[], graceMs: number): Promise<void> => {
  let until = await findCreditedUntil(tx)
  for (const { beganAt, endedAt } of times) {
    // A mark in the future is of a clock that was set back since.
    const lost = { beganAt: until > endedAt ? beganAt : Math.max(beganAt, until), endedAt }
    await creditOne(tx, lost, graceMs)
    until = endedAt
  }
  await tx.insertInto('ServiceState').values({ name: creditedUntil, value: String(until) })
    .onConflict(conflict => conflict.column('name').doUpdateSet({ value: String(until) })).execute()
}
