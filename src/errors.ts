/** Every failure that a client can see: its code, HTTP status and title. */
export const catalogue = {
  VALIDATION_FAILED: { status: 400, title: 'The request is not valid' },
  CALLBACK_REFUSED: { status: 400, title: 'The callback URL is not allowed' },
  INVALID_TASK_ID: { status: 400, title: 'The task id is not valid' },
  UNAUTHORIZED: { status: 401, title: 'A valid bearer token is required' },
  FORBIDDEN: { status: 403, title: 'The token does not allow this' },
  NOT_FOUND: { status: 404, title: 'Not found' },
  JOB_NOT_FOUND: { status: 404, title: 'No such job' },
  NO_RESULT: { status: 404, title: 'The job has no result' },
  METHOD_NOT_ALLOWED: { status: 405, title: 'The path does not have this method' },
  REQUEST_TIMEOUT: { status: 408, title: 'The request did not arrive in time' },
  LEASE_LOST: { status: 409, title: 'The lease on the job is lost' },
  OFFSET_MISMATCH: { status: 409, title: 'Offset does not match the stored size' },
  JOB_ACTIVE: { status: 409, title: 'The job is not finished' },
  JOB_FINISHED: { status: 409, title: 'The job is finished' },
  JOB_FAILED: { status: 409, title: 'The job failed' },
  JOB_CANCELLED: { status: 409, title: 'The job was cancelled' },
  JOB_NOT_OURS: { status: 409, title: 'The job belongs to another engine' },
  JOB_EXPIRED: { status: 410, title: 'The job is gone' },
  RESULT_EXPIRED: { status: 410, title: 'The result is gone' },
  CURSOR_EXPIRED: { status: 410, title: 'The cursor is too old' },
  PRECONDITION_FAILED: { status: 412, title: 'A precondition of the request is not met' },
  PAYLOAD_TOO_LARGE: { status: 413, title: 'The body is too large' },
  UNSUPPORTED_MEDIA_TYPE: { status: 415, title: 'Unsupported media type' },
  RANGE_NOT_SATISFIABLE: { status: 416, title: 'The requested range is outside the result' },
  IDEMPOTENCY_KEY_REUSED: { status: 422, title: 'The idempotency key was used with another body' },
  RATE_LIMITED: { status: 429, title: 'Rate limit exceeded' },
  HEADERS_TOO_LARGE: { status: 431, title: 'Request line and headers are too large' },
  INTERNAL: { status: 500, title: 'Internal error' },
  STORE_UNAVAILABLE: { status: 503, title: 'A dependency of the service is unavailable' },
  OVERLOADED: { status: 503, title: 'Service overloaded' }
} as const

export type FailureCode = keyof typeof catalogue

/**
 * Why something failed, for the log and `/readyz`: the code if there is one, because messages may contain addresses.
 */
export const reasonOf = (error: unknown): string => {
  if (!(error instanceof Error)) return 'unknown'
  return 'code' in error && typeof error.code === 'string' && error.code !== '' ? error.code : error.message
}

/** A rule that a request breaks: the field, the name of the rule, and a message. */
export type FieldError = { field: string, rule: string, message: string }

/** Facts that a response may state beside the code. */
export type FailureFacts = {
  jobStatus?: string
  expiredAt?: string
  offset?: number
  errors?: FieldError[]
  retryAfterSeconds?: number
  /** The value of `WWW-Authenticate`. */
  challenge?: string
}

/** A failure that the client is meant to see. Any other error is answered as INTERNAL, without its message. */
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

/** Whether a dependency failed, not the service itself: it is logged as a warning, and trying again makes sense. */
export const isUnavailable = (error: unknown): boolean =>
  error instanceof ServiceFailure && error.code === 'STORE_UNAVAILABLE'

/** The text is not a cursor that this database can have handed out. */
export class CursorMalformed extends Error {
  constructor () {
    super('the text is not a cursor of the change log')
    this.name = 'CursorMalformed'
  }
}

/**
 * A failure that the operator can correct. It ends a start or a script, and its message, without a stack trace, is all
 * that the operator sees.
 */
export class OperatorError extends Error {}
