import type { components } from './openapi.ts'

type Problem = components['schemas']['Problem']
type Envelope = components['schemas']['TaskError']

/**
 * What went wrong: a code of the service, or one of the client. UNREACHABLE: the service did not answer for as long as
 * the client was willing to try. RESULT_DAMAGED: the bytes are not those of the digest. RESULT_CHANGED: an interrupted
 * download cannot go on, because the result is another one now. UNKNOWN: the response is not one of the service, but of
 * something on the way to it.
 */
export type ErrorCode = components['schemas']['ErrorCode'] | 'UNREACHABLE' | 'RESULT_DAMAGED' | 'RESULT_CHANGED' | 'UNKNOWN'

type Facts = { status?: number, offset?: number | undefined, retryAfterMs?: number, cause?: unknown }

/**
 * A failure of a call. `status`: that of the HTTP response; 0 without one. `offset`: where an upload has to go on.
 * `retryAfterMs`: when the service wants the next request; 0: it does not say.
 */
export class JobServiceError extends Error {
  declare readonly code: ErrorCode
  declare readonly status: number
  declare readonly offset: number | undefined
  declare readonly retryAfterMs: number

  constructor (code: ErrorCode, message: string, { status = 0, offset, retryAfterMs = 0, cause }: Facts = {}) {
    super(message, { cause })
    Object.assign(this, { name: 'JobServiceError', code, status, offset, retryAfterMs })
  }
}

/** The failure that a response reports, in either of its two forms. A proxy in between has forms of its own. */
export const toError = (status: number, text: string, retryAfterMs = 0): JobServiceError => {
  try {
    const body = JSON.parse(text) as Partial<Problem & Envelope>
    const failure: Partial<Problem & Envelope['error']> = body.error ?? body
    const { code, message, detail = message, details, offset = details?.offset } = failure
    if (typeof code === 'string') return new JobServiceError(code, detail ?? '', { status, offset, retryAfterMs })
  } catch {}
  return new JobServiceError('UNKNOWN', `HTTP ${status}, but not from the service`, { status, retryAfterMs })
}

/** The JSON of a response. */
export const parse = <Body>({ status, text }: { status: number, text: string }): Body => {
  try {
    return JSON.parse(text) as Body
  } catch {
    throw toError(status, text)
  }
}
