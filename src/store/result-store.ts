import { setImmediate as turn } from 'node:timers/promises'
import { sql } from 'kysely'
import type { ResultFacts } from '../job/job.ts'
import type { Database } from './sqlite/database.ts'
import { guardRead, type Tx } from './sqlite/transact.ts'

/** Bytes that arrive out of place are refused, so that a result never has a hole. */
export class OffsetMismatch extends Error {
  readonly offset: number

  constructor (offset: number) {
    super(`the result goes on at offset ${offset}`)
    this.name = 'OffsetMismatch'
    this.offset = offset
  }
}

// A result was removed, or changed, while it was read: whoever has its first part must not take it for the whole.
class ResultTorn extends Error {
  constructor (jobId: string) {
    super(`the result of job ${jobId} was removed while it was read`)
    this.name = 'ResultTorn'
  }
}

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

/** Adds bytes at the end. Throws an OffsetMismatch that tells where the end is. Returns the new size. */
export const appendChunk = async (tx: Tx, jobId: string, offset: number, bytes: Uint8Array): Promise<number> => {
  const size = await resultSize(tx, jobId)
  if (offset !== size) throw new OffsetMismatch(size)
  // A chunk without bytes would take the place of the next one.
  if (bytes.byteLength === 0) return size
  await tx.insertInto('JobResultChunk').values({ jobId, startOffset: offset, bytes }).execute()
  return size + bytes.byteLength
}

/** Forgets what an earlier attempt wrote, at most `limit` chunks of it; returns how many. */
export const discardChunks = async (tx: Tx, jobId: string, limit: number): Promise<number> => {
  const some = tx.selectFrom('JobResultChunk').select('startOffset').where('jobId', '=', jobId).limit(limit)
  const { numDeletedRows } = await tx
    .deleteFrom('JobResultChunk').where('jobId', '=', jobId).where('startOffset', 'in', some).executeTakeFirst()
  return Number(numDeletedRows)
}

/** Leaves the bytes of a finished job to the pruner. */
export const orphanResult = async (tx: Tx, jobId: string): Promise<void> => {
  await tx.deleteFrom('JobResult').where('jobId', '=', jobId).execute()
  await sql`
    INSERT INTO OrphanedBytes (holder, id, forgetAt)
    SELECT 'JobResultChunk', ${jobId}, 0 WHERE EXISTS (SELECT 1 FROM JobResultChunk WHERE jobId = ${jobId})
    ON CONFLICT DO NOTHING`.execute(tx)
}

/** Makes the bytes written so far the job's result. */
export const insertResult = async (tx: Tx, jobId: string, facts: ResultFacts): Promise<void> => {
  const size = await resultSize(tx, jobId)
  if (facts.sizeBytes !== size) throw new OffsetMismatch(size)
  await tx.insertInto('JobResult').values({ jobId, ...facts }).execute()
}

/** The bytes of a running attempt so far. `contentType` null: the worker has not said what they are. */
export type PartialResult = { attempt: number, sizeBytes: number, contentType: string | null, fileName: string | null }

/** Which bytes are meant: those of a finished result by their hash, or those of an attempt. */
export type BytesOf = { jobId: string } & ({ sha256: string } | { attempt: number })

/** Reads of stored results. Throws STORE_UNAVAILABLE. */
export type ResultStore = {
  /**
   * The bytes from `start` to before `end`, one chunk in memory at a time. Throws ResultTorn where they end early, or
   * would be followed by those of another attempt.
   */
  read: (of: BytesOf, start: number, end: number) => AsyncGenerator<Uint8Array, void, void>
  /** What a running job has sent so far; undefined unless it runs. */
  findPartial: (jobId: string) => PartialResult | undefined
}

type Chunk = { startOffset: number, bytes: Uint8Array }
type ChunkOfResult = { jobId: string, sha256: string, offset: number }
type ChunkOfAttempt = { jobId: string, attempt: number, offset: number }

// Where bytes of another attempt, or none, have taken the place of those that are meant, nothing is found.
const chunkWhere = (areMeant: string) => `
  SELECT startOffset, bytes FROM JobResultChunk
  WHERE jobId = @jobId AND startOffset <= @offset AND EXISTS (${areMeant})
  ORDER BY startOffset DESC LIMIT 1`

export const createResultStore = ({ database: { reader } }: { database: Database }): ResultStore => {
  const ofResult = reader.prepare<[ChunkOfResult], Chunk>(
    chunkWhere('SELECT 1 FROM JobResult WHERE jobId = @jobId AND sha256 = @sha256'))
  const ofAttempt = reader.prepare<[ChunkOfAttempt], Chunk>(
    chunkWhere('SELECT 1 FROM JobExecutionLog WHERE jobId = @jobId AND attempt = @attempt'))
  const partial = reader.prepare<[string], PartialResult>(`
    SELECT log.attempt AS attempt, queue.resultContentType AS contentType, queue.resultFileName AS fileName, coalesce((
      SELECT startOffset + length(bytes) FROM JobResultChunk WHERE jobId = log.jobId ORDER BY startOffset DESC LIMIT 1
    ), 0) AS sizeBytes
    FROM JobExecutionLog AS log JOIN JobQueue AS queue ON queue.jobId = log.jobId
    WHERE log.jobId = ? AND log.status = 'Running' AND queue.leaseToken IS NOT NULL`)
  const findChunk = (of: BytesOf, offset: number): Chunk | undefined => guardRead(() =>
    'sha256' in of ? ofResult.get({ ...of, offset }) : ofAttempt.get({ ...of, offset }))
  return {
    read: async function * (of, start, end) {
      for (let offset = start; offset < end;) {
        // A client that takes them as fast as they come must not hold the event loop.
        if (offset > start) await turn()
        const chunk = findChunk(of, offset)
        const from = offset - (chunk?.startOffset ?? 0)
        if (chunk === undefined || from >= chunk.bytes.byteLength) throw new ResultTorn(of.jobId)
        const bytes = chunk.bytes.subarray(from, from + end - offset)
        offset += bytes.byteLength
        yield bytes
      }
    },
    findPartial: jobId => guardRead(() => partial.get(jobId))
  }
}
