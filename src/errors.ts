/** Every failure that a client can see: its code, HTTP status and title. */
export const catalogue = {
  VALIDATION_FAILED: { status: 400, title: 'The request is not valid' },
  INVALID_TASK_ID: { status: 400, title: 'The task id is not valid' },
  UNAUTHORIZED: { status: 401, title: 'A valid bearer token is required' },
  FORBIDDEN: { status: 403, title: 'The token does not allow this' },
  NOT_FOUND: { status: 404, title: 'No such route' },
  JOB_NOT_FOUND: { status: 404, title: 'No such job' },
  NO_RESULT: { status: 404, title: 'The job has no result' },
  LEASE_LOST: { status: 409, title: 'The lease on the job is lost' },
  OFFSET_MISMATCH: { status: 409, title: 'The bytes do not follow those that are there' },
  JOB_ACTIVE: { status: 409, title: 'The job is not finished' },
  JOB_FINISHED: { status: 409, title: 'The job is finished' },
  JOB_FAILED: { status: 409, title: 'The job failed' },
  JOB_CANCELLED: { status: 409, title: 'The job was cancelled' },
  JOB_NOT_OURS: { status: 409, title: 'The job belongs to another engine' },
  JOB_EXPIRED: { status: 410, title: 'The job is gone' },
  RESULT_EXPIRED: { status: 410, title: 'The result is gone' },
  PAYLOAD_TOO_LARGE: { status: 413, title: 'The body is too large' },
  UNSUPPORTED_MEDIA_TYPE: { status: 415, title: 'The body is of a kind that is not accepted' },
  RANGE_NOT_SATISFIABLE: { status: 416, title: 'The result has no such bytes' },
  IDEMPOTENCY_KEY_REUSED: { status: 422, title: 'The idempotency key was used with another body' },
  RATE_LIMITED: { status: 429, title: 'The subject of the token asks too often' },
  INTERNAL: { status: 500, title: 'Something went wrong on our side' },
  STORE_UNAVAILABLE: { status: 503, title: 'Something that the service depends on cannot be reached' },
  OVERLOADED: { status: 503, title: 'The service has more to do than it can take on' }
} as const

export type FailureCode = keyof typeof catalogue

/** Why something failed, for a log or `/readyz`: the code where there is one, since messages may name addresses. */
export const reasonOf = (error: unknown): string => {
  if (!(error instanceof Error)) return 'unknown'
  return 'code' in error && typeof error.code === 'string' && error.code !== '' ? error.code : error.message
}

/** One broken rule of a request: where, which, and in words. */
export type FieldError = { field: string, rule: string, message: string }

/** Facts that may stand beside a code in an answer. */
export type FailureFacts = {
  jobStatus?: string
  expiredAt?: string
  offset?: number
  errors?: FieldError[]
  retryAfterSeconds?: number
}

/** A failure meant for the client. Anything else that is thrown is answered as INTERNAL, without its text. */
export class ServiceFailure extends Error {
  readonly code: FailureCode
  readonly facts: FailureFacts

  constructor (code: FailureCode, detail: string, facts: FailureFacts = {}, options?: ErrorOptions) {
    super(detail, options)
    this.name = 'ServiceFailure'
    this.code = code
    this.facts = facts
  }
}

/** Whether what the service stands on failed, and not the service: it is told differently, and worth another trial. */
export const isUnavailable = (error: unknown): boolean => error instanceof ServiceFailure && error.code === 'STORE_UNAVAILABLE'
