import {
  type Failure, type Job, type JobLookup, type Readers, recordStatuses, type RecordStatus, type ResultFacts,
  toFailureJson, toRecordStatus
} from '../job/job.ts'
import { memberText } from '../job/json/text.ts'
import { jobCancelled } from '../job/lifecycle.ts'
import { noProgress } from '../job/progress.ts'
import { detailsBytesMax, shorten, truncatedDetailsJson, unspecifiedCode } from '../job/recorded/texts.ts'
import { createRowReader, toText } from '../job/recorded/values.ts'
import { toIso, toIsoOrNull, toTime } from '../job/time.ts'
import { failureTextMax, toCutFailure } from './cut-failure.ts'
import type { JobRow, Tables } from './tables.ts'

const isRecordStatus = (text: string): text is RecordStatus =>
  (recordStatuses as readonly string[]).includes(text)

/**
 * How long the texts of a record may be, in characters; those that other programs wrote may be longer. A tenant is
 * compared, so it is never shortened: a cut one is longer than the tenant of any token.
 */
export const textMax = {
  type: 256, time: 128, url: 8192, tenant: 32 * 1024, stage: 256, message: 4096, code: 256, failureMessage: 16 * 1024
} as const

const noDetails: Failure = { code: unspecifiedCode, message: 'The job failed; no details were recorded.' }

// JSON that is nested too deeply to be written again counts as none.
const parseJson = (text: string): unknown => {
  try {
    const value: unknown = JSON.parse(text)
    JSON.stringify(value)
    return value
  } catch {
    return undefined
  }
}

// One that has not our shape is shown as it is, with the code UNSPECIFIED.
const parseFailure = (errorDetails: string): Failure => {
  if (errorDetails.length > failureTextMax) return toCutFailure(errorDetails)
  const value = parseJson(errorDetails)
  if (typeof value !== 'object' || value === null) {
    return { code: unspecifiedCode, message: typeof value === 'string' ? value : errorDetails }
  }
  const { code, message } = value as Record<string, unknown>
  if (typeof code === 'string' && code !== '' && typeof message === 'string') {
    const detailsJson = memberText(errorDetails, 'details')
    return detailsJson === undefined ? { code, message } : { code, message, detailsJson }
  }
  const ownMessage = typeof message === 'string' ? message : noDetails.message
  return { code: unspecifiedCode, message: ownMessage, detailsJson: errorDetails.trim() }
}

/** Other programs record failures in any form and of any size; what is shown of one is bounded. */
const toFailure = (errorDetails: string | null): Failure => {
  if (errorDetails === null) return noDetails
  const { code, message, detailsJson } = parseFailure(errorDetails)
  const texts = { code: shorten(code, textMax.code), message: shorten(message, textMax.failureMessage) }
  if (detailsJson === undefined) return texts
  const isLarge = Buffer.byteLength(detailsJson) > detailsBytesMax
  return { ...texts, detailsJson: isLarge ? truncatedDetailsJson : detailsJson }
}

/** The code of a failure as its job shows it. */
export const toFailureCode = (errorDetails: unknown): string => toFailure(toText(errorDetails)).code

/** The tenant of a row. Null: every tenant may read it; an empty text, which no token can have, means the same. */
const toTenant = (value: string | null): string | null => value === null || value === '' ? null : String(value)

const toShortText = (text: string | null, lengthMax: number): string | null =>
  text === null ? null : shorten(text, lengthMax)

// A URL that was shortened would lead elsewhere.
const toUrl = (text: string | null): string | null => text === null || text.length > textMax.url ? null : text

/** Who could read a job, as the triggers write it into the change log. */
export const toReaders = (tenant: string | null): Readers | null =>
  tenant === null ? null : tenant === '' ? 'everyone' : { tenant }

type RowReader = ReturnType<typeof createRowReader<JobRow>>

const toCommon = (row: JobRow, { time, text, number, count }: RowReader) => ({
  jobId: row.jobId,
  version: row.version,
  tenant: toTenant(row.tenant),
  submittedBy: text('submittedBy'),
  type: toShortText(text('type'), textMax.type),
  // Without a time that can be read, the row counts as created when it was inserted.
  createdAt: time('createdAt') ?? row.createdMs,
  startedAt: time('startTime'),
  attempt: count('attempt') ?? 0,
  progress: {
    percent: number('progressPercent') ?? 0,
    done: number('progressDone'),
    total: number('progressTotal'),
    stage: toShortText(text('progressStage'), textMax.stage),
    message: toShortText(text('progressMessage'), textMax.message),
    etaSeconds: count('etaSeconds')
  }
})

const toStateOf = (row: JobRow, result: ResultFacts | null, reader: RowReader): Job | null => {
  const { status } = row
  if (!isRecordStatus(status)) return null
  const { time, text } = reader
  const common = toCommon(row, reader)
  switch (status) {
    case 'Queued': return { ...common, state: 'queued' }
    case 'Running': {
      const hasPartialResult = row.hasPartialResult === 1
      return { ...common, state: 'running', cancelRequestedAt: time('cancelRequestedAt'), hasPartialResult }
    }
    case 'Succeeded': {
      const progress = { ...common.progress, percent: 100, etaSeconds: null }
      const [finishedAt, expiresAt, resultExpiredAt] = [time('endTime'), time('expiresAt'), time('resultExpiredAt')]
      const resultUrl = toUrl(text('resultUrl'))
      return { ...common, progress, state: 'succeeded', finishedAt, resultUrl, result, expiresAt, resultExpiredAt }
    }
    case 'Failed': {
      const [finishedAt, cancelledAt] = [time('endTime'), time('cancelledAt')]
      const errorDetails = text('errorDetails')
      if (cancelledAt === null) return { ...common, state: 'failed', finishedAt, failure: toFailure(errorDetails) }
      const failure = errorDetails === null ? jobCancelled : toFailure(errorDetails)
      return { ...common, state: 'cancelled', finishedAt: finishedAt ?? cancelledAt, cancelledAt, failure }
    }
  }
}

/**
 * Row to job. A status outside BR-001 yields `invalid`: such a row is not shown. `result` is used if the job
 * succeeded.
 */
export const toJob = (row: JobRow, result: ResultFacts | null): Extract<JobLookup, { kind: 'job' | 'invalid' }> => {
  const reader = createRowReader(row)
  const job = toStateOf(row, result, reader)
  if (job === null) return { kind: 'invalid', jobId: row.jobId, version: row.version, tenant: toTenant(row.tenant) }
  return reader.unread.length === 0 ? { kind: 'job', job } : { kind: 'job', job, unread: reader.unread }
}

export type TombstoneRow = Pick<Tables['JobTombstone'], 'jobId' | 'version' | 'tenant' | 'expiredAt'>

export const toTombstone = (row: TombstoneRow): JobLookup =>
  ({ kind: 'tombstone', tombstone: { ...row, tenant: toTenant(row.tenant), expiredAt: toTime(row.expiredAt) ?? 0 } })

// The columns that only some states have; null in the others.
const toColumnsOfState = (job: Job) => ({
  endTime: 'finishedAt' in job ? toIsoOrNull(job.finishedAt) : null,
  resultUrl: job.state === 'succeeded' ? job.resultUrl : null,
  errorDetails: 'failure' in job ? toFailureJson(job.failure) : null,
  cancelRequestedAt: job.state === 'running' ? toIsoOrNull(job.cancelRequestedAt) : null,
  cancelledAt: job.state === 'cancelled' ? toIso(job.cancelledAt) : null,
  expiresAt: job.state === 'succeeded' ? toIsoOrNull(job.expiresAt) : null,
  resultExpiredAt: job.state === 'succeeded' ? toIsoOrNull(job.resultExpiredAt) : null,
  hasPartialResult: job.state === 'running' && job.hasPartialResult ? 1 : 0
})

/** Job to the columns of its row that may change; the inverse of `toJob`, for our own rows. */
export const toColumns = (job: Job) => {
  const progress = job.state === 'queued' ? noProgress : job.progress
  return {
    status: toRecordStatus(job.state),
    startTime: toIsoOrNull(job.startedAt),
    attempt: job.attempt,
    progressPercent: progress.percent,
    progressDone: progress.done,
    progressTotal: progress.total,
    progressStage: progress.stage,
    progressMessage: progress.message,
    etaSeconds: progress.etaSeconds,
    ...toColumnsOfState(job)
  }
}
