import type { ResultFacts } from '../job/job.ts'
import type { Database } from './database.ts'
import { guardRead, type Write } from './transact.ts'

/** Bytes that arrive out of place are refused, so that a result never has a hole. */
export class OffsetMismatch extends Error {
  readonly offset: number

  constructor (offset: number) {
    super(`the result goes on at offset ${offset}`)
    this.name = 'OffsetMismatch'
    this.offset = offset
  }
}

const sizeOf = async (write: Write, jobId: string): Promise<number> => {
  const last = await write
    .selectFrom('JobResultChunk')
    .select(({ fn, ref }) => ['startOffset', fn<number>('length', [ref('bytes')]).as('sizeBytes')])
    .where('jobId', '=', jobId)
    .orderBy('startOffset', 'desc')
    .limit(1)
    .executeTakeFirst()
  return last === undefined ? 0 : last.startOffset + last.sizeBytes
}

// A result was removed, or changed, while it was read: whoever has its first part must not take it for the whole.
class ResultTorn extends Error {
  constructor (jobId: string) {
    super(`the result of job ${jobId} was removed while it was read`)
    this.name = 'ResultTorn'
  }
}

/** Adds bytes at the end. Throws an OffsetMismatch that tells where the end is. Returns the new size. */
export const appendChunk = async (write: Write, jobId: string, offset: number, bytes: Uint8Array): Promise<number> => {
  const size = await sizeOf(write, jobId)
  if (offset !== size) throw new OffsetMismatch(size)
  // A chunk without bytes would take the place of the next one.
  if (bytes.byteLength === 0) return size
  await write.insertInto('JobResultChunk').values({ jobId, startOffset: offset, bytes }).execute()
  return size + bytes.byteLength
}

/** Forgets what an earlier attempt wrote. */
export const discardChunks = async (write: Write, jobId: string): Promise<void> => {
  await write.deleteFrom('JobResultChunk').where('jobId', '=', jobId).execute()
}

/** Makes the bytes written so far the job's result. */
export const insertResult = async (write: Write, jobId: string, facts: ResultFacts): Promise<void> => {
  const size = await sizeOf(write, jobId)
  if (facts.sizeBytes !== size) throw new OffsetMismatch(size)
  await write.insertInto('JobResult').values({ jobId, ...facts }).execute()
}

/** Reads of stored results. */
export type ResultStore = {
  /** The bytes in order, one chunk in memory at a time. Throws STORE_UNAVAILABLE, and ResultTorn where they end early. */
  read: (jobId: string, sizeBytes: number) => AsyncGenerator<Uint8Array, void, void>
}

export const createResultStore = ({ database }: { database: Database }): ResultStore => {
  const nextChunk = database.reader.prepare<[string, number], { bytes: Uint8Array }>(
    database.writer
      .selectFrom('JobResultChunk')
      .select('bytes')
      .where('jobId', '=', '')
      .where('startOffset', '=', 0)
      .compile().sql
  )
  return {
    read: async function * (jobId, sizeBytes) {
      for (let offset = 0; offset < sizeBytes;) {
        const at = offset
        const chunk = guardRead(() => nextChunk.get(jobId, at))
        if (chunk === undefined || offset + chunk.bytes.byteLength > sizeBytes) throw new ResultTorn(jobId)
        offset += chunk.bytes.byteLength
        yield chunk.bytes
      }
    }
  }
}
