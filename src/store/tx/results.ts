import { sql } from 'kysely'
import { toStoredChunks } from '../../job/chunks.ts'
import type { ResultFacts } from '../../job/job.ts'
import { OffsetMismatch } from '../../job/lease.ts'
import { keepStatement } from '../sql/dialect.ts'
import type { Tx } from '../store.ts'
import { together } from '../together.ts'

type ById = { jobId: string }

const lastChunkStatement = keepStatement((db, { jobId }: ById) => db
  .selectFrom('JobResultChunk')
  .select(({ fn, ref }) => ['startOffset', fn<number>('length', [ref('bytes')]).as('sizeBytes')])
  .where('jobId', '=', jobId)
  .orderBy('startOffset', 'desc')
  .limit(1), { each: {} })

/** How many bytes of a result have been written so far. */
export const resultSize = async (tx: Tx, jobId: string): Promise<number> => {
  const { rows: [last] } = await lastChunkStatement(tx, { jobId })
  return last === undefined ? 0 : last.startOffset + last.sizeBytes
}

const appendStatement = keepStatement((db, { jobId, startOffset, bytes }: ById & {
  startOffset: number, bytes: Uint8Array
}) => db.insertInto('JobResultChunk').values({ jobId, startOffset, bytes }), {
  each: { startOffset: 'bigint', bytes: 'bytea' }
})

// None for no bytes: a chunk without bytes would take the place of the next one.
const insertChunks = (tx: Tx, jobId: string, offset: number, bytes: Uint8Array) =>
  toStoredChunks(bytes).map(({ at, chunk }) => appendStatement(tx, { jobId, startOffset: offset + at, bytes: chunk }))

/**
 * Adds bytes at the end and returns the new size. `size` is the present one, where the caller has read it in this
 * transaction. Throws OffsetMismatch, which says where the end is.
 */
export const appendBytes = async (
  tx: Tx, jobId: string, offset: number, bytes: Uint8Array, size?: number
): Promise<number> => {
  const end = size ?? await resultSize(tx, jobId)
  if (offset !== end) throw new OffsetMismatch(end)
  await together(...insertChunks(tx, jobId, offset, bytes))
  return end + bytes.byteLength
}

const discardStatement = keepStatement((db, { jobId, limit }: ById & { limit: number }) => db
  .deleteFrom('JobResultChunk').where('jobId', '=', jobId).where('startOffset', 'in',
    db.selectFrom('JobResultChunk').select('startOffset').where('jobId', '=', jobId).limit(limit)))

/** Removes what an earlier attempt wrote, at most `limit` chunks. Returns how many. */
export const discardChunks = async (tx: Tx, jobId: string, limit: number): Promise<number> => {
  const { numAffectedRows } = await discardStatement(tx, { jobId, limit })
  return Number(numAffectedRows)
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

const factsStatement = keepStatement((db, facts: ResultFacts & ById) => db.insertInto('JobResult').values({
  jobId: facts.jobId,
  contentType: facts.contentType,
  fileName: facts.fileName,
  sizeBytes: facts.sizeBytes,
  sha256: facts.sha256,
  inlineJson: facts.inlineJson
}), { each: { sizeBytes: 'bigint' } })

/** Makes the bytes written so far the job's result. Throws OffsetMismatch if their number is not that of the facts. */
export const insertResult = async (tx: Tx, jobId: string, facts: ResultFacts): Promise<void> => {
  const size = await resultSize(tx, jobId)
  if (facts.sizeBytes !== size) throw new OffsetMismatch(size)
  await factsStatement(tx, { ...facts, jobId })
}

/** Stores a result of which no bytes were written before. Throws OffsetMismatch as insertResult does. */
export const insertWholeResult = async (
  tx: Tx, jobId: string, facts: ResultFacts, bytes: Uint8Array
): Promise<void> => {
  if (facts.sizeBytes !== bytes.byteLength) throw new OffsetMismatch(bytes.byteLength)
  await together(...insertChunks(tx, jobId, 0, bytes), factsStatement(tx, { ...facts, jobId }))
}
