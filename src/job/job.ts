import { type Static, type TSchema, Type } from '@sinclair/typebox'
import type { UnreadValue } from './recorded/values.ts'

/** One `enum` in JSON Schema, where a union of literals would become an anyOf of one-value enums. */
export const StringEnum = <const Values extends readonly string[]>(values: Values, options: object = {}) =>
  Type.Unsafe<Values[number]>({ type: 'string', enum: [...values], ...options })

/** Either the schema or null, as OpenAPI 3.0 can say it. */
export const Nullable = <Schema extends TSchema>(schema: Schema) =>
  Type.Unsafe<Static<Schema> | null>({ ...schema, nullable: true })

/** Rule BR-001: the record knows exactly these four. */
export const recordStatuses = ['Queued', 'Running', 'Succeeded', 'Failed'] as const
export type RecordStatus = typeof recordStatuses[number]

// Earlier releases let other programs insert rows called . and ..
const recordIdPattern = '^[A-Za-z0-9._~-]{1,128}$'

/**
 * Characters that need no escaping in a path, a header or a cache key. `.` and `..` are excluded: in the path of a URL
 * they are steps. Without a lookahead, which generators of clients and of test data do not understand.
 */
export const jobIdPattern = '^(\\.{3}|\\.{0,2}[A-Za-z0-9_~-])[A-Za-z0-9._~-]*$'
const jobIdExpression = new RegExp(jobIdPattern)
const jobIdLengthMax = 128
export const isJobId = (text: string): boolean => text.length <= jobIdLengthMax && jobIdExpression.test(text)

/** The id of a job that clients can ask for. */
export const JobId = Type.String({ pattern: jobIdPattern, maxLength: jobIdLengthMax })

/** The names of job types. */
export const jobTypePattern = '^[a-z0-9][a-z0-9._-]{0,63}$'

/** Why a job failed, as its worker reported it. */
export const Failure = Type.Object({
  code: Type.String({ minLength: 1 }),
  message: Type.String(),
  detailsJson: Type.Optional(Type.String({ description: 'the JSON text of the details, as the worker wrote it' }))
})
export type Failure = Static<typeof Failure>

/** The JSON of a failure, as records store it and as both views show it. */
export const toFailureJson = ({ code, message, detailsJson }: Failure): string => {
  const json = JSON.stringify({ code, message })
  return detailsJson === undefined ? json : `${json.slice(0, -1)},"details":${detailsJson}}`
}

/** The progress of the latest attempt. `etaSeconds` is an estimate made when the version was made. */
export const Progress = Type.Object({
  percent: Type.Number({ minimum: 0, maximum: 100 }),
  done: Nullable(Type.Number()),
  total: Nullable(Type.Number()),
  stage: Nullable(Type.String()),
  message: Nullable(Type.String()),
  etaSeconds: Nullable(Type.Integer({ minimum: 0 }))
})
export type Progress = Static<typeof Progress>

/** Facts about a stored result; its bytes are read separately. */
export const ResultFacts = Type.Object({
  contentType: Type.String(),
  fileName: Type.String(),
  sizeBytes: Type.Integer({ minimum: 0 }),
  sha256: Type.String({ description: 'base64' }),
  inlineJson: Nullable(Type.String({
    description: 'the JSON text itself, where it is small enough to travel in the status'
  }))
})
export type ResultFacts = Static<typeof ResultFacts>

/** The type and name of result bytes, as the worker declares them with the first. */
export type ContentInfo = { contentType: string, fileName: string }

const Time = Type.Integer({ description: 'milliseconds since 1970-01-01 UTC' })

const common = {
  jobId: Type.String({ pattern: recordIdPattern }),
  version: Type.Integer({ minimum: 0 }),
  tenant: Nullable(Type.String()),
  submittedBy: Nullable(Type.String({ description: 'null: the row was written by another engine' })),
  type: Nullable(Type.String()),
  createdAt: Time,
  startedAt: Nullable(Time),
  attempt: Type.Integer({ minimum: 0 }),
  progress: Progress
}

export const QueuedJob = Type.Object({ ...common, state: Type.Literal('queued') })
export const RunningJob = Type.Object({
  ...common,
  state: Type.Literal('running'),
  cancelRequestedAt: Nullable(Time),
  hasPartialResult: Type.Boolean({ description: 'whether the attempt has sent bytes of its result already' })
})
export const SucceededJob = Type.Object({
  ...common,
  state: Type.Literal('succeeded'),
  finishedAt: Nullable(Time),
  resultUrl: Nullable(Type.String()),
  result: Nullable(ResultFacts),
  expiresAt: Nullable(Type.Integer({ description: 'when the stored result is due to be removed; ms since 1970' })),
  resultExpiredAt: Nullable(Type.Integer({ description: 'when it was removed; ms since 1970' }))
})
export const FailedJob = Type.Object({
  ...common,
  state: Type.Literal('failed'),
  finishedAt: Nullable(Time),
  failure: Failure
})
export const CancelledJob = Type.Object({
  ...common,
  state: Type.Literal('cancelled'),
  finishedAt: Nullable(Time),
  cancelledAt: Time,
  failure: Failure
})

export type QueuedJob = Static<typeof QueuedJob>
export type RunningJob = Static<typeof RunningJob>
export type SucceededJob = Static<typeof SucceededJob>
export type FailedJob = Static<typeof FailedJob>
export type CancelledJob = Static<typeof CancelledJob>

/** A job is exactly one of these; a state's type has the fields of that state alone. */
export type Job = QueuedJob | RunningJob | SucceededJob | FailedJob | CancelledJob
export type JobState = Job['state']

/** What remains of an erased record: enough to answer 410 in place of 404. */
export type Tombstone = { jobId: string, version: number, tenant: string | null, expiredAt: number }

/**
 * What the store knows about an id. `unread`: values of the row that were not understood. `invalid`: a row that
 * violates BR-001, which no answer shows.
 */
export type JobLookup =
  | { kind: 'job', job: Job, unread?: readonly UnreadValue[] }
  | { kind: 'tombstone', tombstone: Tombstone }
  | { kind: 'invalid', jobId: string, version: number, tenant: string | null }
  | { kind: 'absent', jobId: string }

const statusOf = {
  queued: 'Queued', running: 'Running', succeeded: 'Succeeded', failed: 'Failed', cancelled: 'Failed'
} as const satisfies Record<JobState, RecordStatus>

/** Whether a client can be redirected there for the result: other programs record paths and URLs of every kind. */
export const isWebUrl = (url: string | null): url is string =>
  url !== null && URL.canParse(url) && /^https?:$/.test(new URL(url).protocol)

/** The record's status for a state. */
export const toRecordStatus = (state: JobState): RecordStatus => statusOf[state]

/** Whether a job in this state can still change its state. */
export const isTerminal = (job: Job): job is SucceededJob | FailedJob | CancelledJob =>
  job.state === 'succeeded' || job.state === 'failed' || job.state === 'cancelled'
