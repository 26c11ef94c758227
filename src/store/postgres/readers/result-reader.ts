import { sql } from 'kysely'
import { readResultBytes } from '../../chunks.ts'
import type { BytesOf, PartialResult, ResultReader } from '../../store.ts'
import type { Database } from '../database.ts'
import { guardRead } from '../reads.ts'
import { copyChunks, literal } from './copy-chunks.ts'

const latestRun = 'greatest(log.attempt, (SELECT max(run) FROM JobAttempt WHERE jobId = log.jobId))'

// Finds no chunk if the bytes that are meant were removed or replaced by those of another run.
const whereCurrent = (of: BytesOf): string => 'sha256' in of
  ? `SELECT 1 FROM JobResult WHERE jobId = ${literal(of.jobId)} AND sha256 = ${literal(of.sha256)}`
  : `SELECT 1 FROM JobExecutionLog AS log WHERE log.jobId = ${literal(of.jobId)} AND ${latestRun} = ${literal(of.run)}`

const chunksFrom = (of: BytesOf, offset: number, end: number): string => `
  SELECT startOffset, bytes FROM JobResultChunk
  WHERE jobId = ${literal(of.jobId)} AND startOffset < ${literal(end)} AND startOffset >= (
    SELECT startOffset FROM JobResultChunk WHERE jobId = ${literal(of.jobId)} AND startOffset <= ${literal(offset)}
    ORDER BY startOffset DESC LIMIT 1) AND EXISTS (${whereCurrent(of)})
  ORDER BY startOffset`

export const createResultReader = ({ database }: { database: Database }): ResultReader => {
  const { reads } = database
  return {
    read: (of, start, end) => readResultBytes(of, start, end, offset =>
      copyChunks(database, chunksFrom(of, offset, end), { isFirst: offset === start }), { readsAhead: true }),
    findPartial: jobId => guardRead(async () => {
      const { rows: [partial] } = await sql<PartialResult>`
        SELECT log.attempt, ${sql.raw(latestRun)} AS run, queue.resultContentType AS "contentType",
          queue.resultFileName AS "fileName", coalesce((
            SELECT startOffset + length(bytes) FROM JobResultChunk WHERE jobId = log.jobId
            ORDER BY startOffset DESC LIMIT 1), 0) AS "sizeBytes"
        FROM JobExecutionLog AS log JOIN JobQueue AS queue ON queue.jobId = log.jobId
        WHERE log.jobId = ${jobId} AND log.status = 'Running' AND queue.leaseToken IS NOT NULL`.execute(reads)
      return partial
    }),
    findRun: jobId => guardRead(async () => {
      const { rows: [found] } = await sql<{ run: number }>`
        SELECT ${sql.raw(latestRun)} AS run FROM JobExecutionLog AS log WHERE log.jobId = ${jobId}`.execute(reads)
      return found?.run ?? 0
    })
  }
}
