import type { components } from './openapi.ts'

type Problem = components['schemas']['Problem']
type Envelope = components['schemas']['TaskError']

/**
 * What went wrong: a code of the service, or one of the client. UNREACHABLE: the service did not answer for as long as
 * the client was willing to try. RESULT_DAMAGED: the bytes are not those of the digest. RESULT_CHANGED: an interrupted
 * download cannot go on, because the result is another one now.
 */
export type ErrorCode = components['schemas']['ErrorCode'] | 'UNREACHABLE' | 'RESULT_DAMAGED' | 'RESULT_CHANGED' | 'UNKNOWN'

/** A failure of a call. `status`: that of the HTTP response; 0 without one. `offset`: where an upload has to go on. */
export class JobServiceError extends Error {
  readonly code: ErrorCode
  readonly status: number
  readonly offset: number | undefined

  constructor (code: ErrorCode, message: string, { status = 0, offset, cause }: { status?: number, offset?: number | undefined, cause?: unknown } = {}) {
    super(message, { cause })
    this.name = 'JobServiceError'
    this.code = code
    this.status = status
    this.offset = offset
  }
}

/** The failure that a response reports, in either of its two forms. A proxy in between has forms of its own. */
export const toError = (status: number, text: string): JobServiceError => {
  try {
    const body = JSON.parse(text) as Partial<Problem> & Partial<Envelope>
    if (body.error !== undefined) {
      const { code, message, details } = body.error
      return new JobServiceError(code, message, { status, offset: details?.offset })
    }
    if (body.code !== undefined) return new JobServiceError(body.code, body.detail ?? '', { status, offset: body.offset })
  } catch {}
  return new JobServiceError('UNKNOWN', `answered ${status}`, { status })
}
