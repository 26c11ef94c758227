import { sql } from 'kysely'
import type { Tx } from '../store.ts'

/** A time in which reports of workers could not be recorded. In ms since 1970. */
export type LostTime = { beganAt: number, endedAt: number }

const creditedUntil = 'leasesCreditedUntil'

// Locks the row, also where it is new: another process that credits the same time reads it after this transaction.
const lockCreditedUntil = async (tx: Tx): Promise<number> => {
  const { value } = await tx.insertInto('ServiceState').values({ name: creditedUntil, value: '0' })
    .onConflict(conflict => conflict.column('name').doUpdateSet(({ ref }) => ({ value: ref('ServiceState.value') })))
    .returning('value').executeTakeFirstOrThrow()
  return Number(value)
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
  let until = await lockCreditedUntil(tx)
  for (const { beganAt, endedAt } of times) {
    // A mark in the future is of a clock that was set back since.
    const lost = { beganAt: until > endedAt ? beganAt : Math.max(beganAt, until), endedAt }
    await creditOne(tx, lost, graceMs)
    until = endedAt
  }
  await tx.updateTable('ServiceState').set({ value: String(until) }).where('name', '=', creditedUntil).execute()
}
