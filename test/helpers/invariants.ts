import { createHash } from 'node:crypto'
import SqliteDatabase from 'better-sqlite3'

/*
 * What holds of a database of the service at every moment, whatever was cut off. Each statement finds what breaks it.
 */

const ours = 'submittedBy IS NOT NULL'

const statements: Record<string, string> = {
  'an unfinished job of ours stands in the queue, with its input': `
    SELECT jobId FROM JobExecutionLog WHERE ${ours} AND status IN ('Queued', 'Running')
      AND (jobId NOT IN (SELECT jobId FROM JobQueue) OR jobId NOT IN (SELECT jobId FROM JobInput))`,
  'what stands in the queue is an unfinished job': `
    SELECT jobId FROM JobQueue
    WHERE jobId NOT IN (SELECT jobId FROM JobExecutionLog WHERE status IN ('Queued', 'Running'))`,
  'an input is kept exactly as long as its record': `
    SELECT jobId FROM JobInput WHERE jobId NOT IN (SELECT jobId FROM JobExecutionLog)
    UNION SELECT jobId FROM JobExecutionLog WHERE ${ours} AND jobId NOT IN (SELECT jobId FROM JobInput)`,
  'a job of ours is leased exactly while it runs': `
    SELECT log.jobId FROM JobExecutionLog AS log JOIN JobQueue AS queue USING (jobId)
    WHERE ${ours} AND (status = 'Running') IS NOT (leaseToken IS NOT NULL)`,
  'no attempt is beyond the last': 'SELECT jobId FROM JobExecutionLog JOIN JobQueue USING (jobId) WHERE attempt > maxAttempts',
  'no version is beyond the newest drawn': `
    SELECT jobId FROM (SELECT jobId, version FROM JobExecutionLog UNION ALL SELECT jobId, version FROM JobTombstone
      UNION ALL SELECT jobId, version FROM JobChange)
    WHERE version > (SELECT seq FROM sqlite_sequence WHERE name = 'JobChange')`,
  'no version is drawn twice': `
    SELECT version FROM (SELECT version FROM JobExecutionLog UNION ALL SELECT version FROM JobTombstone)
    GROUP BY version HAVING count(*) > 1`,
  'the newest change of a job is its version': `
    SELECT jobId FROM (SELECT jobId, version FROM JobExecutionLog UNION ALL SELECT jobId, version FROM JobTombstone) AS record
    WHERE version IS NOT coalesce((SELECT max(version) FROM JobChange WHERE jobId = record.jobId), version)`,
  'a record has no tombstone': 'SELECT jobId FROM JobExecutionLog WHERE jobId IN (SELECT jobId FROM JobTombstone)',
  'a finished job has an end, and an unfinished one has none': `
    SELECT jobId FROM JobExecutionLog WHERE ${ours} AND (endTime IS NOT NULL) IS NOT (status IN ('Succeeded', 'Failed'))`,
  'a failed job of ours says why, and no other does': `
    SELECT jobId FROM JobExecutionLog WHERE ${ours} AND (errorDetails IS NOT NULL) IS NOT (status = 'Failed')`,
  'a result belongs to a job that succeeded': `
    SELECT jobId FROM JobResult WHERE jobId NOT IN (SELECT jobId FROM JobExecutionLog WHERE status = 'Succeeded')`,
  'bytes of a result belong to one, to a run, or to the pruner': `
    SELECT DISTINCT jobId FROM JobResultChunk WHERE jobId NOT IN (SELECT jobId FROM JobResult)
      AND jobId NOT IN (SELECT jobId FROM JobQueue)
      AND jobId NOT IN (SELECT id FROM OrphanedBytes WHERE holder = 'JobResultChunk')`,
  'bytes of a result have no hole': `
    SELECT jobId FROM JobResultChunk GROUP BY jobId HAVING max(startOffset + length(bytes)) <> sum(length(bytes)) OR min(startOffset) <> 0`,
  'bytes of an input belong to one, or to the pruner': `
    SELECT DISTINCT inputId FROM JobInputChunk WHERE inputId NOT IN (SELECT inputId FROM JobInput WHERE inputId IS NOT NULL)
      AND inputId NOT IN (SELECT id FROM OrphanedBytes WHERE holder = 'JobInputChunk')`,
  'an idempotency key stands for a job that is, or was': `
    SELECT key FROM IdempotencyKey WHERE jobId NOT IN (SELECT jobId FROM JobExecutionLog UNION SELECT jobId FROM JobTombstone)`
}

const tornResults = (database: SqliteDatabase.Database): string[] => {
  const chunks =
    database.prepare<[string], Buffer>('SELECT bytes FROM JobResultChunk WHERE jobId = ? ORDER BY startOffset').pluck()
  return database.prepare<[], {
    jobId: string, sizeBytes: number, sha256: string
  }>('SELECT jobId, sizeBytes, sha256 FROM JobResult').all()
    .filter(({ jobId, sizeBytes, sha256 }) => {
      const bytes = Buffer.concat(chunks.all(jobId))
      return bytes.byteLength !== sizeBytes || createHash('sha256').update(bytes).digest('base64') !== sha256
    }).map(({ jobId }) => `a result is what its hash says: ${jobId}`)
}

/** Everything that is wrong with a database, a line each: as SQLite sees it, and as the service does. */
export const violationsOf = (path: string): string[] => {
  const database = new SqliteDatabase(path)
  try {
    const verdicts = database.prepare<[], string>('PRAGMA integrity_check').pluck().all()
    if (verdicts[0] !== 'ok') return verdicts.map(verdict => `integrity_check: ${verdict}`)
    const loose = database.prepare('PRAGMA foreign_key_check').all().map(
      row => `foreign_key_check: ${JSON.stringify(row)}`
    )
    const broken = Object.entries(statements).flatMap(([rule, sql]) =>
      database.prepare<[], string>(sql).pluck().all().map(id => `${rule}: ${id}`))
    return [...loose, ...broken, ...tornResults(database)]
  } finally {
    database.close()
  }
}
