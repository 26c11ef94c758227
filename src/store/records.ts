import {
  type Failure, type Job, type JobLookup, recordStatuses, type RecordStatus, type ResultFacts, toFailureJson,
  toRecordStatus
} from '../job/job.ts'
import { memberText } from '../job/json-text.ts'
import { jobCancelled } from '../job/lifecycle.ts'
import { noProgress } from '../job/progress.ts'
import { detailsBytesMax, shorten, truncatedDetailsJson, unspecifiedCode } from '../job/recorded-texts.ts'
import { toEpochMs, toIso, toIsoOrNull } from '../job/time.ts'
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
  if (errorDetails === null || errorDetails === '') return noDetails
  const { code, message, detailsJson } = parseFailure(errorDetails)
  const texts = { code: shorten(code, textMax.code), message: shorten(message, textMax.failureMessage) }
  if (detailsJson === undefined) return texts
  const isLarge = Buffer.byteLength(detailsJson) > detailsBytesMax
  return { ...texts, detailsJson: isLarge ? truncatedDetailsJson : detailsJson }
}

/** The code of a failure as its job shows it. */
export const toFailureCode = (errorDetails: unknown): string => toFailure(toText(errorDetails)).code

const timeMin = Date.parse('0000-01-01T00:00:00Z')
const timeMax = Date.parse('9999-12-31T23:59:59.999Z')

// A numeric column turned a date without hyphens into a number: up to here it is read as a date.
const isoDigitsMax = 1e8
// Above, it counts from 1970, in seconds (up to the year 5138) or in milliseconds (from March 1973).
const epochSecondsMax = 1e11

const fromNumber = (value: number): number | null => {
  if (value < isoDigitsMax) return toEpochMs(String(value))
  return Math.round(value < epochSecondsMax ? value * 1000 : value)
}

/**
 * A time as a record may hold it: ISO 8601 text, or, in a table of another program, a number of seconds or
 * milliseconds since 1970. A year of more than four digits, which RFC 3339 cannot write, counts as no time.
 */
const toTime = (value: unknown): number | null => {
  const ms = typeof value === 'string' ? toEpochMs(value) : typeof value === 'number' ? fromNumber(value) : null
  return ms === null || ms < timeMin || ms > timeMax ? null : ms
}

/*
 * The columns of a table that another program made may hold values of any type, whatever the types here say. A number
 * in place of a text is shown as text; bytes are not shown.
 */
const toText = (value: unknown): string | null =>
  typeof value === 'string' ? value : typeof value === 'number' ? String(value) : null

const toShortText = (value: unknown, lengthMax: number): string | null => {
  const text = toText(value)
  return text === null ? null : shorten(text, lengthMax)
}

// A URL that was shortened would lead elsewhere.
const toUrl = (value: unknown): string | null => {
  const text = toText(value)
  return text === null || text.length > textMax.url ? null : text
}

const toNumber = (value: unknown): number | null => typeof value === 'number' && Number.isFinite(value) ? value : null

const toCount = (value: unknown): number | null => Number.isSafeInteger(value) && (value as number) >= 0
  ? value as number
  : null

// Null only for null: a row without a tenant is visible to every tenant.
const toTenant = (value: string | null): string | null => value === null ? null : String(value)

const toCommon = (row: JobRow) => {
  const startedAt = toTime(row.startTime)
  return {
    jobId: row.jobId,
    version: row.version,
    tenant: toTenant(row.tenant),
    submittedBy: toText(row.submittedBy),
    type: toShortText(row.type, textMax.type),
    // The database fills in createdAt, so only a value that is not a time needs the alternatives.
    createdAt: toTime(row.createdAt) ?? startedAt ?? 0,
    startedAt,
    attempt: toCount(row.attempt) ?? 0,
    progress: {
      percent: toNumber(row.progressPercent) ?? 0,
      done: toNumber(row.progressDone),
      total: toNumber(row.progressTotal),
      stage: toShortText(row.progressStage, textMax.stage),
      message: toShortText(row.progressMessage, textMax.message),
      etaSeconds: toCount(row.etaSeconds)
    }
  }
}

/**
 * Row to job. A status outside BR-001 yields `invalid`: such a row is not shown. `result` is used if the job
 * succeeded.
 */
export const toJob = (row: JobRow, result: ResultFacts | null): Extract<JobLookup, { kind: 'job' | 'invalid' }> => {
  const { jobId, version, status } = row
  if (!isRecordStatus(status)) return { kind: 'invalid', jobId, version, tenant: toTenant(row.tenant) }
  const common = toCommon(row)
  const finishedAt = toTime(row.endTime)
  switch (status) {
    case 'Queued':
      return { kind: 'job', job: { ...common, state: 'queued' } }
    case 'Running': {
      const hasPartialResult = row.hasPartialResult === 1
      return {
        kind: 'job',
        job: {
          ...common, state: 'running', cancelRequestedAt: toTime(row.cancelRequestedAt), hasPartialResult
        }
      }
    }
    case 'Succeeded': {
      const progress = { ...common.progress, percent: 100, etaSeconds: null }
      const [expiresAt, resultExpiredAt] = [toTime(row.expiresAt), toTime(row.resultExpiredAt)]
      const resultUrl = toUrl(row.resultUrl)
      return {
        kind: 'job',
        job: {
          ...common, progress, state: 'succeeded', finishedAt, resultUrl, result, expiresAt, resultExpiredAt
        }
      }
    }
    case 'Failed': {
      const cancelledAt = toTime(row.cancelledAt)
      const errorDetails = toText(row.errorDetails)
      if (cancelledAt === null) {
        return { kind: 'job', job: { ...common, state: 'failed', finishedAt, failure: toFailure(errorDetails) } }
      }
      const failure = errorDetails === null ? jobCancelled : toFailure(errorDetails)
      return {
        kind: 'job', job: { ...common, state: 'cancelled', finishedAt: finishedAt ?? cancelledAt, cancelledAt, failure }
      }
    }
  }
}

export type TombstoneRow = Pick<Tables['JobTombstone'], 'jobId' | 'version' | 'tenant' | 'expiredAt'>

export const toTombstone = (row: TombstoneRow): JobLookup =>
  ({ kind: 'tombstone', tombstone: { ...row, expiredAt: toEpochMs(row.expiredAt) ?? 0 } })

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
