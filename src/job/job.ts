import type { UnreadValue } from './recorded/values.ts'

/** Rule BR-001: the record knows exactly these four. */
export const recordStatuses = ['Queued', 'Running', 'Succeeded', 'Failed'] as const
export type RecordStatus = typeof recordStatuses[number]

/**
 * Characters that need no escaping in a path, a header or a cache key. `.` and `..` are excluded: in the path of a URL
 * they are steps. Without a lookahead, which generators of clients and of test data do not understand.
 */
export const jobIdPattern = '^(\\.{3}|\\.{0,2}[A-Za-z0-9_~-])[A-Za-z0-9._~-]*$'
const jobIdExpression = new RegExp(jobIdPattern)
export const jobIdLengthMax = 128
export const isJobId = (text: string): boolean => text.length <= jobIdLengthMax && jobIdExpression.test(text)

/** The names of job types. */
export const jobTypePattern = '^[a-z0-9][a-z0-9._-]{0,63}$'

/** Why a job failed, as its worker reported it. `detailsJson`: the JSON text of the details, as the worker wrote it. */
export type Failure = { code: string, message: string, detailsJson?: string }

/** The JSON of a failure, as records store it and as both views show it. */
export const toFailureJson = ({ code, message, detailsJson }: Failure): string => {
  const json = JSON.stringify({ code, message })
  return detailsJson === undefined ? json : `${json.slice(0, -1)},"details":${detailsJson}}`
}

/**
 * The progress of the latest attempt: `percent` is 0 to 100, `etaSeconds` an estimate made when the version was made.
 */
export type Progress = {
  percent: number
  done: number | null
  total: number | null
  stage: string | null
  message: string | null
  etaSeconds: number | null
}

/** Facts about a stored result; its bytes are read separately. */
export type ResultFacts = {
  contentType: string
  fileName: string
  sizeBytes: number
  /** In base64. */
  sha256: string
  /** The JSON text itself, where it is small enough to travel in the status. */
  inlineJson: string | null
}

/** The type and name of result bytes, as the worker declares them with the first. */
export type ContentInfo = { contentType: string, fileName: string }

/** Times are milliseconds since 1970-01-01 UTC. */
type Common = {
  jobId: string
  version: number
  tenant: string | null
  /** Null: the row was written by another engine. */
  submittedBy: string | null
  type: string | null
  createdAt: number
  startedAt: number | null
  attempt: number
  progress: Progress
}

export type QueuedJob = Common & { state: 'queued' }
export type RunningJob = Common & {
  state: 'running'
  cancelRequestedAt: number | null
  /** Whether the attempt has sent bytes of its result already. */
  hasPartialResult: boolean
}
export type SucceededJob = Common & {
  state: 'succeeded'
  finishedAt: number | null
  resultUrl: string | null
  result: ResultFacts | null
  /** When the stored result is due to be removed. */
  expiresAt: number | null
  /** When it was removed. */
  resultExpiredAt: number | null
}
export type FailedJob = Common & { state: 'failed', finishedAt: number | null, failure: Failure }
export type CancelledJob = Common & {
  state: 'cancelled'
  finishedAt: number | null
  cancelledAt: number
  failure: Failure
}

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

/** The principals that may read a job: every one, since it has no tenant, or those of one tenant (and admins). */
export type Readers = 'everyone' | Readonly<{ tenant: string }>

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
