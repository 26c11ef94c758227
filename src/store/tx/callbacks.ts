import { type Kysely, type RawBuilder, sql } from 'kysely'
import { type Callback, type CallbackQueue, callbacksMax, type CallbackState, type Settled } from '../../job/callbacks/callback.ts'
import type { Tx } from '../store.ts'
import type { Tables } from '../tables.ts'
import { skippingLocked } from '../sql/row-locks.ts'

/*
 * The callbacks of jobs. Triggers make them due, and delete them with a finished job; everything else is here.
 */

/** A callback as it is added. `host` and `tenant` name the queue that it waits in, `secret` null stands for the service's own. */
export type NewCallback = Pick<Callback, 'id' | 'jobId' | 'tenant' | 'url'> &
  { host: string, secret: string | null, addedAt: number }

/**
 * Adds a URL to a job, once. If the job has ended, it is due at `addedAt`. False: the job has as many as it can have.
 * The caller has locked the record.
 */
export const addCallback = async (tx: Tx, callback: NewCallback, isEnded: boolean): Promise<boolean> => {
  const present = await tx.selectFrom('JobCallback').select('url')
    .where('jobId', '=', callback.jobId).where('isGone', '=', 0).execute()
  if (present.some(({ url }) => url === callback.url)) return true
  if (present.length >= callbacksMax) return false
  const due = isEnded ? { state: 'pending', nextTryAt: callback.addedAt } as const : { state: 'waiting' } as const
  await tx.insertInto('JobCallback').values({ ...callback, ...due }).execute()
  return true
}

/**
 * A callback that this process may try now. `isGone`: its job was deleted before its end. `body` null: there was no try
 * yet. `dueAt` in ms since 1970.
 */
export type ClaimedCallback =
  Pick<Callback, 'id' | 'jobId' | 'tenant' | 'url' | 'tries'> &
  { secret: string | null, body: string | null, isGone: boolean, stateBefore: CallbackState | null, dueAt: number }

/** The lease of a try. `endsAt` (ms since 1970): from then on another process may try. */
export type CallbackLease = { token: string, endsAt: number }

/** Claims callbacks of one queue that are due at `at` (ms since 1970), those due longest first. */
export const claimCallbacks = async (
  tx: Tx, { host, tenant }: CallbackQueue, at: number, limit: number, { token, endsAt }: CallbackLease
): Promise<ClaimedCallback[]> => {
  const due = tx.selectFrom('JobCallback')
    .select(['id', 'jobId', 'tenant', 'url', 'tries', 'secret', 'body', 'isGone', 'stateBefore', 'nextTryAt'])
    .where('host', '=', host).where('tenant', '=', tenant).where('nextTryAt', '<=', at).orderBy('nextTryAt').limit(limit)
  const rows = await skippingLocked(tx, due).execute()
  for (const { id } of rows) {
    await tx.updateTable('JobCallback').set({ leaseToken: token, nextTryAt: endsAt }).where('id', '=', id).execute()
  }
  return rows.map(({ isGone, nextTryAt, ...row }) => ({ ...row, isGone: isGone === 1, dueAt: nextTryAt ?? at }))
}

/** Keeps what every try sends. */
export const setCallbackBody = async (tx: Tx, id: string, body: string): Promise<void> => {
  await tx.updateTable('JobCallback').set({ body }).where('id', '=', id).execute()
}

/**
 * Records a try. False: the lease is over, or the callback was erased. Of a job that is gone nothing is kept when it is
 * over: no client can read it.
 */
export const settleCallback = async (tx: Tx, id: string, leaseToken: string, settled: Settled): Promise<boolean> => {
  const { numUpdatedRows } = await tx.updateTable('JobCallback').set({ ...settled, leaseToken: null, stateBefore: null })
    .where('id', '=', id).where('leaseToken', '=', leaseToken).executeTakeFirst()
  if (settled.state !== 'pending') {
    await tx.deleteFrom('JobCallback').where('id', '=', id).where('isGone', '=', 1).execute()
  }
  return numUpdatedRows === 1n
}

/** Gives back a callback whose try did not end: it is due at `at` (ms since 1970). */
export const releaseCallback = async (tx: Tx, id: string, leaseToken: string, at: number): Promise<void> => {
  await tx.updateTable('JobCallback').set({ leaseToken: null, nextTryAt: at })
    .where('id', '=', id).where('leaseToken', '=', leaseToken).execute()
}

/** What a request for one more try needs to know. */
export type RedeliveredCallback =
  Pick<Callback, 'tenant' | 'state'> & { isUnderWay: boolean, redeliveredAt: number | null }

export const findRedelivered = async (
  tx: Tx, jobId: string, id: string, at: number
): Promise<RedeliveredCallback | undefined> => {
  const row = await tx.selectFrom('JobCallback').select(['tenant', 'state', 'leaseToken', 'nextTryAt', 'redeliveredAt'])
    .where('id', '=', id).where('jobId', '=', jobId).where('isGone', '=', 0).executeTakeFirst()
  if (row === undefined) return undefined
  const { tenant, state, redeliveredAt } = row
  return { tenant, state, redeliveredAt, isUnderWay: row.leaseToken !== null && (row.nextTryAt ?? at) > at }
}

/** Makes a callback due at `at` (ms since 1970), for one try if it has ended. */
export const makeDue = async (
  tx: Tx, id: string, { state, isUnderWay }: RedeliveredCallback, at: number
): Promise<void> => {
  const due = isUnderWay ? {} : { state: 'pending', nextTryAt: at, leaseToken: null } as const
  const stateBefore = state === 'pending' ? {} : { stateBefore: state }
  await tx.updateTable('JobCallback').set({ redeliveredAt: at, ...due, ...stateBefore }).where('id', '=', id).execute()
}

/** The callbacks of a job, in the order in which they were added. */
export const callbacksQuery = (db: Kysely<Tables>, jobId: string) => db
  .selectFrom('JobCallback')
  .select([
    'id', 'jobId', 'tenant', 'url', 'state', 'tries', 'lastStatus', 'lastError', 'lastTriedAt', 'nextTryAt'
  ])
  .where('jobId', '=', jobId)
  .where('isGone', '=', 0)
  .orderBy('addedAt')
  .orderBy('id')

/** Whether any callback is due. */
export const dueCallbacksQuery = (db: Kysely<Tables>, at: number) => db
  .selectFrom('JobCallback').select('id').where('nextTryAt', 'is not', null).where('nextTryAt', '<=', at).limit(1)

/** A queue with callbacks that wait for a try; `isDue` is 1 if one of them is due. */
export type PendingQueue = CallbackQueue & { isDue: number }

/**
 * The queues behind `after` that have pending callbacks, at most `limit`, in their order. It steps from queue to queue
 * through the index: what it costs does not depend on how many callbacks wait in one of them.
 */
export const pendingQueuesQuery = (db: Kysely<Tables>, at: number, after: CallbackQueue, limit: number) => {
  const first = (column: 'host' | 'tenant', where: RawBuilder<unknown>) => sql`
    (SELECT min(${sql.ref(column)}) FROM ${sql.table('JobCallback')} WHERE ${sql.ref('nextTryAt')} IS NOT NULL AND ${where})`
  // Each is one step in the index. A comparison of both columns at once would read through the callbacks of a host.
  const nextTenant = first('tenant', sql`host = pending.host AND tenant > pending.tenant`)
  const nextHost = first('host', sql`host > pending.host`)
  // Postgres wants the first row to have the collation of the columns.
  const none = (column: 'host' | 'tenant') => first(column, sql`1 = 0`)
  return sql<PendingQueue>`
    WITH RECURSIVE pending (host, tenant, place) AS (
      SELECT coalesce(${none('host')}, ${after.host}), coalesce(${none('tenant')}, ${after.tenant}), 0
      UNION ALL
      SELECT CASE WHEN ${nextTenant} IS NULL THEN ${nextHost} ELSE pending.host END,
        coalesce(${nextTenant}, ${first('tenant', sql`host = ${nextHost}`)}), place + 1
      FROM pending WHERE pending.host IS NOT NULL AND place < ${limit}
    )
    SELECT host, tenant, CASE WHEN EXISTS (SELECT 1 FROM ${sql.table('JobCallback')} AS callback
      WHERE callback.host = pending.host AND callback.tenant = pending.tenant
        AND ${sql.ref('callback.nextTryAt')} <= ${at}) THEN 1 ELSE 0 END AS "isDue"
    FROM pending WHERE place > 0 AND host IS NOT NULL`.compile(db)
}

/** The queues of a page that have a try due, and the queue to go on behind; null at the end. */
export const toPendingPage = (
  rows: readonly PendingQueue[], limit: number
): { due: CallbackQueue[], next: CallbackQueue | null } => {
  const queues = rows.map(({ host, tenant }) => ({ host, tenant }))
  return {
    due: queues.filter((_queue, index) => rows[index]?.isDue === 1),
    next: rows.length < limit ? null : queues.at(-1) ?? null
  }
}

/** Counts pending callbacks, up to `countMax`: a count reads each of them. */
export const countPendingQuery = (db: Kysely<Tables>, countMax: number) => db
  .selectFrom(db.selectFrom('JobCallback').select('nextTryAt').where('nextTryAt', 'is not', null).limit(countMax).as('p'))
  .select(({ fn }) => fn.countAll<number>().as('count'))
