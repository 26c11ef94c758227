import type { Generated, Selectable } from 'kysely'
import { type Failure, type Job, type JobLookup, recordStatuses, type RecordStatus, toRecordStatus } from '../job/job.ts'
import { noProgress } from '../job/progress.ts'
import { toEpochMs, toIso } from '../job/time.ts'

/** The table that others write too. Times are ISO 8601 text; see the migration for its laws. */
export type JobExecutionLogTable = {
  jobId: string
  type: string | null
  status: string
  startTime: string | null
  endTime: string | null
  resultUrl: string | null
  errorDetails: string | null
  tenant: string | null
  progressPercent: number | null
  createdAt: Generated<string | null>
  version: Generated<number>
  submittedBy: string | null
  attempt: Generated<number>
  progressDone: number | null
  progressTotal: number | null
  progressStage: string | null
  progressMessage: string | null
  etaSeconds: number | null
}

export type Tables = {
  JobExecutionLog: JobExecutionLogTable
  JobTombstone: { jobId: string, tenant: string | null, status: string, version: number, expiredAt: string }
  JobChange: { version: Generated<number>, jobId: string, at: Generated<number> }
  JobQueue: {
    jobId: string
    type: string
    maxAttempts: number
    timeoutMs: number | null
    availableAt: number
    leaseToken: string | null
    leaseHolder: string | null
    leaseExpiresAt: number | null
  }
  JobInput: { jobId: string, input: string, access: string }
  JobResult: {
    jobId: string
    contentType: string
    fileName: string
    sizeBytes: number
    sha256: string
    inlineJson: string | null
  }
  JobResultChunk: { jobId: string, startOffset: number, bytes: Uint8Array }
  IdempotencyKey: { tenant: string, key: string, requestHash: string, jobId: string, createdAt: number }
  ServiceState: { name: string, value: string }
}

/** A record with the facts of its stored result, as one read brings them. */
export type JobRow = Selectable<JobExecutionLogTable> & {
  resultContentType: string | null
  resultFileName: string | null
  resultSizeBytes: number | null
  resultSha256: string | null
  resultInlineJson: string | null
}

const isRecordStatus = (text: string): text is RecordStatus =>
  (recordStatuses as readonly string[]).includes(text)

const noDetails: Failure = { code: 'UNSPECIFIED', message: 'The job failed; no details were recorded.' }

// What could not be written again, being nested too deeply, is as good as no JSON.
const parseJson = (text: string): unknown => {
  try {
    const value: unknown = JSON.parse(text)
    JSON.stringify(value)
    return value
  } catch {
    return undefined
  }
}

// Other engines record what they like: what is not our shape is shown as it is, under a code of its own.
const toFailure = (errorDetails: string | null): Failure => {
  if (errorDetails === null || errorDetails === '') return noDetails
  const value = parseJson(errorDetails)
  if (typeof value !== 'object' || value === null) {
    return { code: 'UNSPECIFIED', message: typeof value === 'string' ? value : errorDetails }
  }
  const { code, message, details } = value as Record<string, unknown>
  if (typeof code === 'string' && code !== '' && typeof message === 'string') {
    return details === undefined ? { code, message } : { code, message, details }
  }
  return { code: 'UNSPECIFIED', message: typeof message === 'string' ? message : noDetails.message, details: value }
}

const timeMin = Date.parse('0000-01-01T00:00:00Z')
const timeMax = Date.parse('9999-12-31T23:59:59.999Z')

// A time that RFC 3339 cannot write, with a year of more than four digits, is as good as none.
const toTime = (text: string | null): number | null => {
  const ms = text === null ? null : toEpochMs(text)
  return ms === null || ms < timeMin || ms > timeMax ? null : ms
}

const toResult = (row: JobRow) => row.resultSizeBytes === null
  ? null
  : {
      contentType: row.resultContentType ?? 'application/octet-stream',
      fileName: row.resultFileName ?? '',
      sizeBytes: row.resultSizeBytes,
      sha256: row.resultSha256 ?? '',
      inlineJson: row.resultInlineJson
    }

const toCommon = (row: JobRow) => {
  const startedAt = toTime(row.startTime)
  return {
    jobId: row.jobId,
    version: row.version,
    tenant: row.tenant,
    submittedBy: row.submittedBy,
    type: row.type,
    // The database fills createdAt; only a text that is no time at all gets this far.
    createdAt: toTime(row.createdAt) ?? startedAt ?? 0,
    startedAt,
    attempt: row.attempt,
    progress: {
      percent: row.progressPercent ?? 0,
      done: row.progressDone,
      total: row.progressTotal,
      stage: row.progressStage,
      message: row.progressMessage,
      etaSeconds: row.etaSeconds
    }
  }
}

/** Row to job. A status outside BR-001 yields `invalid`: nothing of such a row is shown. */
export const toJob = (row: JobRow): Extract<JobLookup, { kind: 'job' | 'invalid' }> => {
  const { jobId, version, tenant, status } = row
  if (!isRecordStatus(status)) return { kind: 'invalid', jobId, version, tenant }
  const common = toCommon(row)
  const finishedAt = toTime(row.endTime)
  switch (status) {
    case 'Queued':
      return { kind: 'job', job: { ...common, state: 'queued' } }
    case 'Running':
      return { kind: 'job', job: { ...common, state: 'running' } }
    case 'Succeeded': {
      const progress = { ...common.progress, percent: 100, etaSeconds: null }
      const result = toResult(row)
      return { kind: 'job', job: { ...common, progress, state: 'succeeded', finishedAt, resultUrl: row.resultUrl, result } }
    }
    case 'Failed':
      return { kind: 'job', job: { ...common, state: 'failed', finishedAt, failure: toFailure(row.errorDetails) } }
  }
}

/** Job to the columns of its row that may change; the inverse of `toJob`, for our own rows. */
export const toColumns = (job: Job) => {
  const progress = job.state === 'queued' ? noProgress : job.progress
  return {
    status: toRecordStatus(job.state),
    startTime: job.startedAt === null ? null : toIso(job.startedAt),
    endTime: 'finishedAt' in job && job.finishedAt !== null ? toIso(job.finishedAt) : null,
    resultUrl: job.state === 'succeeded' ? job.resultUrl : null,
    errorDetails: job.state === 'failed' ? JSON.stringify(job.failure) : null,
    attempt: job.attempt,
    progressPercent: progress.percent,
    progressDone: progress.done,
    progressTotal: progress.total,
    progressStage: progress.stage,
    progressMessage: progress.message,
    etaSeconds: progress.etaSeconds
  }
}
