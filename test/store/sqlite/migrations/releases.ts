import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type SqliteDatabase from 'better-sqlite3'
import type { Test } from 'tap'

const dump = readFileSync(join(import.meta.dirname, 'fixtures/release-0001.sql'), 'utf8')

/** Rows of every kind, as the first release left them: jobs in each state, its queue, inputs, results and tombstones. */
const fill = (jobs: number) => `
  CREATE TEMP TABLE n AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${jobs}) SELECT i FROM n;
  INSERT INTO JobExecutionLog (jobId, type, tenant, submittedBy, createdAt, status, startTime, endTime, resultUrl, errorDetails, attempt, progressPercent, progressMessage)
    SELECT 'job-' || i, 'report', 'tenant-' || (i % 7), CASE WHEN i % 5 THEN 'ann' END,
      CASE i % 3 WHEN 0 THEN '2026-01-31 12:00:00' WHEN 1 THEN '2026-01-31T12:00:00.000Z' ELSE 'soon' END,
      CASE i % 4 WHEN 0 THEN 'Queued' WHEN 1 THEN 'Running' WHEN 2 THEN 'Succeeded' ELSE 'Failed' END,
      '2026-01-31T12:00:01.000Z', CASE WHEN i % 4 > 1 THEN '2026-01-31T12:00:02.000Z' END,
      CASE i % 4 WHEN 2 THEN '/r/' || i END, CASE i % 4 WHEN 3 THEN '{"code":"E","message":"m"}' END, i % 4, i % 101, 'row ' || i
    FROM n;
  INSERT INTO JobQueue (jobId, type, maxAttempts, timeoutMs, availableAt, leaseToken, leaseHolder, leaseExpiresAt)
    SELECT 'job-' || i, 'report', 3, NULL, i, CASE i % 4 WHEN 1 THEN 'token' END, CASE i % 4 WHEN 1 THEN 'w' END, CASE i % 4 WHEN 1 THEN i END
    FROM n WHERE i % 4 < 2;
  INSERT INTO JobInput SELECT 'job-' || i, '{"a":' || i || '}', '{}' FROM n WHERE i % 4 < 2;
  INSERT INTO JobResult SELECT 'job-' || i, 'text/plain', 'r.txt', 2000, 'sha', NULL FROM n WHERE i % 4 = 2;
  INSERT INTO JobResultChunk SELECT 'job-' || i, 1000 * part, zeroblob(1000) FROM n, (SELECT 0 AS part UNION SELECT 1) WHERE i % 4 = 2;
  INSERT INTO IdempotencyKey SELECT 'tenant-1', 'key-' || i, 'hash', 'job-' || i, i FROM n WHERE i % 10 = 0;
  DELETE FROM JobExecutionLog WHERE rowid % 50 = 0`

/** A database of the first release, in WAL mode as it left it. */
export const makeFirstRelease = (t: Test, jobs = 0, path = join(t.testdir(), 'jobs.db')): string => {
  const input =
    `PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;\n${dump}\n${jobs > 0 ? `BEGIN; ${fill(jobs)}; COMMIT` : ''};`
  execFileSync('sqlite3', ['-bail', path], { input })
  return path
}

/** The whole schema, but for what SQLite keeps for itself. */
export const schemaOf = (connection: SqliteDatabase.Database): unknown[] =>
  connection.prepare(
    "SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' ORDER BY type, name"
  ).all()

/** The first release's tables of jobs, with their columns. */
export const firstReleaseTables: Record<string, string> = {
  JobExecutionLog: 'jobId, type, status, startTime, endTime, resultUrl, errorDetails, tenant, progressPercent, createdAt, version, submittedBy, attempt, progressDone, progressTotal, progressStage, progressMessage, etaSeconds',
  JobTombstone: 'jobId, tenant, status, version, expiredAt',
  JobChange: 'jobId, version, at',
  JobQueue: 'jobId, type, maxAttempts, timeoutMs, availableAt, leaseToken, leaseHolder, leaseExpiresAt',
  JobInput: 'jobId, input, access',
  JobResult: 'jobId, contentType, fileName, sizeBytes, sha256, inlineJson',
  JobResultChunk: 'jobId, startOffset, hex(bytes)',
  IdempotencyKey: 'jobId, tenant, key, requestHash, createdAt'
}
