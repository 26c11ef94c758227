import { sql } from 'kysely'
import { readResultBytes, type ResultChunk } from '../../chunks.ts'
import type { BytesOf, PartialResult, ResultReader } from '../../store.ts'
import type { Database } from '../database.ts'
import { guardRead } from '../reads.ts'

const latestRun = sql`greatest(log.attempt, (SELECT max(run) FROM JobAttempt WHERE jobId = log.jobId))`

export const createResultReader = ({ database: { reads } }: { database: Database }): ResultReader => {
  // Finds no chunk if the bytes that are meant were removed or replaced by those of another run.
  const findChunk = (of: BytesOf, offset: number): Promise<ResultChunk | undefined> => guardRead(async () => {
    const isCurrent = 'sha256' in of
      ? sql`SELECT 1 FROM JobResult WHERE jobId = ${of.jobId} AND sha256 = ${of.sha256}`
      : sql`SELECT 1 FROM JobExecutionLog AS log WHERE log.jobId = ${of.jobId} AND ${latestRun} = ${of.run}`
    const { rows: [chunk] } = await sql<ResultChunk>`
      SELECT startOffset AS "startOffset", bytes FROM JobResultChunk
      WHERE jobId = ${of.jobId} AND startOffset <= ${offset} AND EXISTS (${isCurrent})
      ORDER BY startOffset DESC LIMIT 1`.execute(reads)
    return chunk
  })
  return {
    read: (of, start, end) => readResultBytes(of, start, end, offset => findChunk(of, offset)),
    findPartial: jobId => guardRead(async () => {
      const { rows: [partial] } = await sql<PartialResult>`
        SELECT log.attempt, ${latestRun} AS run, queue.resultContentType AS "contentType",
          queue.resultFileName AS "fileName", coalesce((
            SELECT startOffset + length(bytes) FROM JobResultChunk WHERE jobId = log.jobId
            ORDER BY startOffset DESC LIMIT 1), 0) AS "sizeBytes"
        FROM JobExecutionLog AS log JOIN JobQueue AS queue ON queue.jobId = log.jobId
        WHERE log.jobId = ${jobId} AND log.status = 'Running' AND queue.leaseToken IS NOT NULL`.execute(reads)
      return partial
    }),
    findRun: jobId => guardRead(async () => {
      const { rows: [found] } = await sql<{ run: number }>`
        SELECT ${latestRun} AS run FROM JobExecutionLog AS log WHERE log.jobId = ${jobId}`.execute(reads)
      return found?.run ?? 0
    })
  }
}
