import { type Kysely, sql } from 'kysely'
import { toIso } from '../../job/time.ts'
import type { Origin, Tx } from '../store.ts'
import type { Tables } from '../tables.ts'
import { skippingLocked } from '../sql/row-locks.ts'
import { takeWritable, textBytes } from '../sql/text-bytes.ts'

/*
 * Finds what is past its retention by an index and removes it a few rows at a time. The queries that are exported are
 * those of the RetentionReader, too: it asks without a lock whether a removal would find anything.
 */

// The alias: in a table that another program made, the column may be written in another case. A longer text is no time,
// and Postgres' index does not have it.
export const dueResults = (db: Kysely<Tables>, at: string, limit: number) => db
  .selectFrom('JobExecutionLog').select(['jobId as jobId', textBytes.as('bytes')])
  .where('expiresAt', 'is not', null).where(sql<boolean>`octet_length(expiresAt) <= 128`)
  .where('resultExpiredAt', 'is', null).where('expiresAt', '<=', at)
  .where('status', '=', sql.lit('Succeeded')).where('submittedBy', 'is not', null).where('submittedBy', '<>', '')
  .orderBy('expiresAt').limit(limit)

/** Jobs whose stored result is due at `at` (ms since 1970), as many as one transaction may write. */
export const findDueResults = async (tx: Tx, at: number, limit: number): Promise<string[]> =>
  takeWritable(await skippingLocked(tx, dueResults(tx, toIso(at), limit)).execute()).map(({ jobId }) => jobId)

/** Clears a due time that is not a time: another program wrote it. */
export const clearExpiry = async (tx: Tx, jobId: string): Promise<void> => {
  await tx.updateTable('JobExecutionLog').set({ expiresAt: null }).where('jobId', '=', jobId).execute()
}

/** The last record that was examined. */
export type RecordCursor = { endedMs: number, seq: number }

// Deleting a record deletes its input, too.
const deletedBytes = sql<number>`(${textBytes} + coalesce(
  (SELECT octet_length(input) FROM JobInput WHERE JobInput.jobId = JobExecutionLog.jobId), 0))`

// As the indexes have it. A row without a submitter is of another program.
const ofOrigin = { ours: sql<boolean>`submittedBy > ''`, foreign: sql<boolean>`coalesce(submittedBy, '') = ''` }

const endedRecords = (db: Kysely<Tables>, origin: Origin, limit: number) => db
  .selectFrom('JobExecutionLog')
  .select(['jobId as jobId', 'endedMs as endedMs', 'seq as seq', deletedBytes.as('bytes')])
  .$narrowType<{ endedMs: number }>()
  .where('status', 'in', sql<string>`('Succeeded', 'Failed')`)
  .where(ofOrigin[origin])
  .limit(limit)

export const dueRecords = (db: Kysely<Tables>, origin: Origin, before: number, limit: number) =>
  endedRecords(db, origin, limit).where('endedMs', '<', before).orderBy('endedMs').orderBy('seq')

export const dueTombstones = (db: Kysely<Tables>, before: string, limit: number) =>
  db.selectFrom('JobTombstone').select('jobId').where('expiredAt', '<', before).orderBy('expiredAt').limit(limit)

export const dueOrphans = (db: Kysely<Tables>, at: number) =>
  db.selectFrom('OrphanedBytes').select(['holder', 'id']).where('forgetAt', '<=', at).orderBy('forgetAt').limit(1)

export const dueIdempotencyKeys = (db: Kysely<Tables>, before: number) =>
  db.selectFrom('IdempotencyKey').select('createdAt').where('createdAt', '<', before).orderBy('createdAt').limit(1)

// Two searches: one comparison of both columns would examine all rows of one time again for each batch.
const nextRecords = async (tx: Tx, origin: Origin, before: number, after: RecordCursor | null, limit: number) => {
  if (after === null) return await skippingLocked(tx, dueRecords(tx, origin, before, limit)).execute()
  const tied = endedRecords(tx, origin, limit).where('endedMs', '=', after.endedMs).where('seq', '>', after.seq)
  const ties = await skippingLocked(tx, tied.orderBy('seq')).execute()
  if (ties.length === limit) return ties
  const later = dueRecords(tx, origin, before, limit - ties.length).where('endedMs', '>', after.endedMs)
  return [...ties, ...await skippingLocked(tx, later).execute()]
}

/** A batch of records: how many were examined and removed. `next` is where to go on; null at the end. */
export type PrunedRecords = { examined: number, removed: number, next: RecordCursor | null }

/**
 * Removes records that ended before `before` (ms since 1970), at most `limit`, fewer where their texts are long, and
 * leaves their tombstones. A record without an `endTime` ended with its creation. One whose `endTime` cannot be read
 * stays.
 */
export const pruneRecords = async (
  tx: Tx, origin: Origin, before: number, limit: number, after: RecordCursor | null
): Promise<PrunedRecords> => {
  const found = await nextRecords(tx, origin, before, after, limit)
  const rows = takeWritable(found)
  const due = rows.map(({ jobId }) => jobId)
  if (due.length > 0) await tx.deleteFrom('JobExecutionLog').where('jobId', 'in', due).execute()
  const last = rows.at(-1)
  const isEnd = found.length < limit && rows.length === found.length
  const next = last === undefined || isEnd ? null : { endedMs: last.endedMs, seq: last.seq }
  return { examined: rows.length, removed: rows.length, next }
}

/**
 * Removes tombstones made before `before` (ms since 1970), at most `limit`, and writes a change for each: a cache must
 * stop answering from the tombstone. Returns how many.
 */
export const pruneTombstones = async (tx: Tx, before: number, limit: number): Promise<number> => {
  const due = await skippingLocked(tx, dueTombstones(tx, toIso(before), limit)).execute()
  const jobIds = due.map(({ jobId }) => jobId)
  if (jobIds.length === 0) return 0
  await tx.deleteFrom('JobTombstone').where('jobId', 'in', jobIds).execute()
  await tx.insertInto('JobChange').values(jobIds.map(jobId => ({ jobId }))).execute()
  return jobIds.length
}

/**
 * Removes bytes that no job refers to and that are due at `at` (ms since 1970), at most `limit` chunks. Returns how
 * many, and one more once a result or an input is gone entirely: 0 means that nothing is left.
 */
export const pruneOrphans = async (tx: Tx, at: number, limit: number): Promise<number> => {
  const orphan = await skippingLocked(tx, dueOrphans(tx, at)).executeTakeFirst()
  if (orphan === undefined) return 0
  const { holder, id } = orphan
  const key = sql.ref(holder === 'JobInputChunk' ? 'inputId' : 'jobId')
  const { numAffectedRows } = await sql`
    DELETE FROM ${sql.table(holder)} WHERE ${key} = ${id} AND startOffset IN (
      SELECT startOffset FROM ${sql.table(holder)} WHERE ${key} = ${id} LIMIT ${limit})`.execute(tx)
  const removed = Number(numAffectedRows ?? 0n)
  if (removed === limit) return removed
  await tx.deleteFrom('OrphanedBytes').where('holder', '=', holder).where('id', '=', id).execute()
  return removed + 1
}
