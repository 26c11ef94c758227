import { type Static, Type } from '@sinclair/typebox'
import { findJsonFlaw } from '../../../job/json/flaw.ts'
import { OptionalOrNull } from '../../../job/schema-kinds.ts'
import { detailsBytesMax, textLengths, truncatedDetails, unspecifiedCode } from '../../../job/recorded/texts.ts'

/*
 * The bodies of workers' reports. Lengths, ranges and characters depend on the data of a job and are first met in
 * production, where a rejected report costs the run: they never make a report fail. Wrong types and names are met with
 * the first report of a worker, and are rejected.
 */

const resultUrlLengthMax = 8192

const shortened = (length: number) => `More than ${length} characters are shortened and end with \`…\`.`

export const ProgressReport = Type.Object({
  percent: OptionalOrNull(Type.Number({
    description: `0 to 100; what lies outside counts as the nearer one. A lower value than before is accepted and
ignored; clients see at most 99 until the job is complete.`
  })),
  done: OptionalOrNull(Type.Number({ description: 'A negative number counts as left out.' })),
  total: OptionalOrNull(Type.Number({ description: 'A negative number counts as left out.' })),
  stage: OptionalOrNull(Type.String({ description: shortened(textLengths.stage) })),
  message: OptionalOrNull(Type.String({ description: shortened(textLengths.progressMessage) }))
}, { additionalProperties: false })

export const progressExamples = {
  progress: { summary: 'Progress', value: { done: 4000, total: 10_000, stage: 'reading' } },
  heartbeat: { summary: 'A heartbeat', value: {} }
}

export const Completion = Type.Object({
  result: Type.Optional(Type.Unknown({ description: 'The result: any JSON value, including null.' })),
  resultUrl: OptionalOrNull(Type.String({
    maxLength: resultUrlLengthMax, description: 'The URL of a result stored elsewhere, http or https.'
  })),
  sizeBytes: OptionalOrNull(Type.Integer({
    minimum: 0,
    maximum: Number.MAX_SAFE_INTEGER,
    description: 'How many bytes were uploaded. If the service has stored another number, the run goes on.'
  }))
}, { additionalProperties: false })
export type Completion = Static<typeof Completion>

export const completionExamples = {
  given: { summary: 'A result in the body', value: { result: { rows: 10_000 } } },
  uploaded: { summary: 'The uploaded bytes', value: {} },
  elsewhere: { summary: 'A result stored elsewhere', value: { resultUrl: 'https://files.example.org/thumbnail.png' } }
}

export const Release = Type.Object({}, { additionalProperties: false })

export const FailureReport = Type.Object({
  error: Type.Object({
    code: Type.String({ description: `${shortened(textLengths.code)} An empty code becomes \`${unspecifiedCode}\`.` }),
    message: Type.String({ description: shortened(textLengths.message) }),
    details: Type.Optional(Type.Unknown({
      description: `Any JSON value. More than ${detailsBytesMax / 1024} KiB become \`{ "truncated": true }\`; null counts as left out.`
    }))
  }, { description: 'Further members are ignored.' }),
  retryable: OptionalOrNull(Type.Boolean({ description: 'Whether another attempt may succeed. Default: true.' }))
}, { additionalProperties: false })
export type FailureReport = Static<typeof FailureReport>

export const failureExamples = {
  passing: {
    summary: 'Another attempt may succeed', value: { error: { code: 'TIMEOUT', message: 'No answer in 10 s.' } }
  },
  final: {
    summary: 'No attempt can succeed',
    value: {
      error: { code: 'NO_IMAGE', message: 'The file is no image.', details: { type: 'text/plain' } }, retryable: false
    }
  }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** The body of a progress report with its numbers in range. */
export const reviseProgress = (body: unknown): unknown => {
  if (!isObject(body)) return body
  const revised = { ...body }
  if (Number.isFinite(revised.percent)) revised.percent = Math.min(100, Math.max(0, revised.percent as number))
  for (const name of ['done', 'total']) if (Number.isFinite(revised[name]) && Number(revised[name]) < 0) delete revised[name]
  return revised
}

// Libraries use numbers as codes; an object has no obvious text.
const toText = (value: unknown, missing: string): unknown => {
  if (value === undefined || value === null) return missing
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : value
}

const noMessage = 'The worker reported no message.'

const toError = (error: unknown): unknown => {
  if (typeof error === 'string') return { code: unspecifiedCode, message: error }
  if (error !== undefined && error !== null && !isObject(error)) return error
  const { code, message, details } = error ?? {}
  return {
    code: toText(code, unspecifiedCode),
    message: toText(message, noMessage),
    ...(details === undefined || details === null ? {} : { details })
  }
}

/**
 * The body of a failure report in its documented form: what is missing of the error is filled in, and details that
 * could not be stored are replaced.
 */
export const reviseFailure = (body: unknown): unknown => {
  if (!isObject(body)) return body
  const error = toError(body.error)
  const revised = { ...body, error }
  if (!isObject(error) || error.details === undefined || findJsonFlaw(revised) === undefined) return revised
  return { ...revised, error: { ...error, details: truncatedDetails } }
}
