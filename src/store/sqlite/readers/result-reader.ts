import { setImmediate as nextTurn } from 'node:timers/promises'
import { type Chunk, readResultBytes } from '../../chunks.ts'
import type { BytesOf, PartialResult, ResultReader } from '../../store.ts'
import type { Database } from '../database.ts'
import { guardRead } from '../transact.ts'

type ChunkOfResult = { jobId: string, sha256: string, offset: number }
type ChunkOfRun = { jobId: string, run: number, offset: number }

// Finds no chunk if the bytes that are meant were removed or replaced by those of another run.
const chunkWhere = (isCurrent: string) => `
  SELECT startOffset, bytes FROM JobResultChunk
  WHERE jobId = @jobId AND startOffset <= @offset AND EXISTS (${isCurrent})
  ORDER BY startOffset DESC LIMIT 1`

// `attempt` counts where a release without JobAttempt has begun the run.
const latestRun = 'max(log.attempt, coalesce((SELECT max(run) FROM JobAttempt WHERE jobId = log.jobId), 0))'

export const createResultReader = ({ database }: { database: Database }): ResultReader => {
  const { reader } = database
  const ofResult = reader.prepare<[ChunkOfResult], Chunk>(
    chunkWhere('SELECT 1 FROM JobResult WHERE jobId = @jobId AND sha256 = @sha256'))
  const ofRun = reader.prepare<[ChunkOfRun], Chunk>(
    chunkWhere(`SELECT 1 FROM JobExecutionLog AS log WHERE log.jobId = @jobId AND ${latestRun} = @run`))
  const run = reader.prepare<[string], number>(
    `SELECT ${latestRun} FROM JobExecutionLog AS log WHERE log.jobId = ?`).pluck()
  const partial = reader.prepare<[string], PartialResult>(`
    SELECT log.attempt AS attempt, ${latestRun} AS run, queue.resultContentType AS contentType, queue.resultFileName AS fileName, coalesce((
      SELECT startOffset + length(bytes) FROM JobResultChunk WHERE jobId = log.jobId ORDER BY startOffset DESC LIMIT 1
    ), 0) AS sizeBytes
    FROM JobExecutionLog AS log JOIN JobQueue AS queue ON queue.jobId = log.jobId
    WHERE log.jobId = ? AND log.status = 'Running' AND queue.leaseToken IS NOT NULL`)
  const findChunk = (of: BytesOf, offset: number): Chunk[] => guardRead(database, () =>
    'sha256' in of ? ofResult.all({ ...of, offset }) : ofRun.all({ ...of, offset }))
  return {
    read: (of, start, end) => readResultBytes(of, start, end, async offset => {
      // A client that reads as fast as it can must not occupy the event loop.
      if (offset > start) await nextTurn()
      return findChunk(of, offset)
    }),
    findPartial: async jobId => guardRead(database, () => partial.get(jobId)),
    findRun: async jobId => guardRead(database, () => run.get(jobId)) ?? 0
  }
}
