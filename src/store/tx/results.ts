import { sql } from 'kysely'
import type { ResultFacts } from '../../job/job.ts'
import { OffsetMismatch } from '../../job/lease.ts'
import type { Tx } from '../store.ts'

/** How many bytes of a result have been written so far. */
export const resultSize = async (tx: Tx, jobId: string): Promise<number> => {
  const last = await tx
    .selectFrom('JobResultChunk')
    .select(({ fn, ref }) => ['startOffset', fn<number>('length', [ref('bytes')]).as('sizeBytes')])
    .where('jobId', '=', jobId)
    .orderBy('startOffset', 'desc')
    .limit(1)
    .executeTakeFirst()
  return last === undefined ? 0 : last.startOffset + last.sizeBytes
}

/** Adds bytes at the end and returns the new size. Throws OffsetMismatch, which says where the end is. */
export const appendChunk = async (tx: Tx, jobId: string, offset: number, bytes: Uint8Array): Promise<number> => {
  const size = await resultSize(tx, jobId)
  if (offset !== size) throw new OffsetMismatch(size)
  // A chunk without bytes would take the place of the next one.
  if (bytes.byteLength === 0) return size
  await tx.insertInto('JobResultChunk').values({ jobId, startOffset: offset, bytes }).execute()
  return size + bytes.byteLength
}

/** Removes what an earlier attempt wrote, at most `limit` chunks. Returns how many. */
export const discardChunks = async (tx: Tx, jobId: string, limit: number): Promise<number> => {
  const some = tx.selectFrom('JobResultChunk').select('startOffset').where('jobId', '=', jobId).limit(limit)
  const { numDeletedRows } = await tx
    .deleteFrom('JobResultChunk').where('jobId', '=', jobId).where('startOffset', 'in', some).executeTakeFirst()
  return Number(numDeletedRows)
}

/** Deletes the facts of a result and leaves its bytes to the pruner. */
export const orphanResult = async (tx: Tx, jobId: string): Promise<void> => {
  await tx.deleteFrom('JobResult').where('jobId', '=', jobId).execute()
  await tx.insertInto('OrphanedBytes').columns(['holder', 'id', 'forgetAt'])
    .expression(({ selectFrom, lit }) => selectFrom('JobResultChunk')
      .select([sql.lit<'JobResultChunk'>('JobResultChunk').as('holder'), 'jobId as id', lit(0).as('forgetAt')])
      .where('jobId', '=', jobId).limit(1))
    .onConflict(conflict => conflict.doNothing())
    .execute()
}

/** Makes the bytes written so far the job's result. Throws OffsetMismatch if their number is not that of the facts. */
export const insertResult = async (tx: Tx, jobId: string, facts: ResultFacts): Promise<void> => {
  const size = await resultSize(tx, jobId)
  if (facts.sizeBytes !== size) throw new OffsetMismatch(size)
  await tx.insertInto('JobResult').values({ jobId, ...facts }).execute()
}
