import type { FastifyReply, FastifyRequest } from 'fastify'
import { type Violation, violationsReportedMax } from '../schema-check.ts'
import { catalogue, type FieldError, ServiceFailure } from '../errors.ts'
import { qualityOf } from './headers/media-type.ts'
import type { Problem, TaskError } from './openapi/schemas.ts'
import { routeOf } from './route-of.ts'

// Whether `Accept` ranks application/problem+json at least as high as application/json; low-code clients mostly do not.
const prefersProblemJson = (accept: string | undefined): boolean => {
  if (accept === undefined) return true
  const quality = qualityOf(accept, 'application/problem+json')
  return quality > 0 && quality >= qualityOf(accept, 'application/json')
}

/** The path of a request target (RFC 9112, 3.2) as the client wrote it: without the query and without an origin. */
export const pathOf = (url: string): string =>
  url.replace(/^https?:\/\/[^/?]*/, '').split('?', 1)[0] ?? ''

const envelopePaths = /^\/api\/(jobs|sanitize)(\/|$)/

const toFieldErrors = (error: { validation?: unknown, validationContext?: string }): FieldError[] => {
  const violations = error.validation as Violation[]
  const { validationContext = 'body' } = error
  return violations.slice(0, violationsReportedMax).map(violation => toFieldError(violation, validationContext))
}

// Without these words a reader would look for the field in the body.
const required: Partial<Record<string, string>> = { headers: 'is required, as a header of the request' }
const unknown: Partial<Record<string, string>> = { querystring: 'is not a known parameter' }

/** Names the field by its path, like `input.format`; `whole` names the value that was validated, like `body`. */
export const toFieldError = ({ instancePath, keyword, message, params }: Violation, whole: string): FieldError => {
  const missing = params.missingProperty ?? params.additionalProperty
  const path = instancePath.split('/').slice(1).map(step => step.replaceAll('~1', '/').replaceAll('~0', '~'))
  if (typeof missing === 'string') path.push(missing)
  const field = path.length === 0 ? whole : path.join('.').slice(0, 200)
  const allowed = Array.isArray(params.allowedValues)
    ? `: ${params.allowedValues.filter(value => value !== null).join(', ')}`
    : ''
  const toMessage = (): string => {
    if (keyword === 'additionalProperties') return unknown[whole] ?? 'is not a known field'
    if (keyword === 'required') return required[whole] ?? 'is required'
    // Also the answer to a request without a body.
    if (path.length === 0 && params.type === 'object') return 'must be a JSON object'
    return `${message ?? 'is not valid'}${allowed}`
  }
  return { field, rule: keyword, message: `${field} ${toMessage()}` }
}

/** VALIDATION_FAILED with every broken rule. */
export const validationFailure = (errors: FieldError[]): ServiceFailure =>
  new ServiceFailure('VALIDATION_FAILED', errors.map(error => error.message).join('; ').slice(0, 1000), { errors })

/** VALIDATION_FAILED with one broken rule. `message` continues a sentence that begins with the name of the field. */
export const brokenRule = (field: string, rule: string, message: string): ServiceFailure =>
  validationFailure([{ field, rule, message: `${field} ${message}` }])

/** The texts of a route's 413 and 415 errors. */
export type BodyHints = { tooLarge?: string, accepts?: string, bytesMax?: number }

const bodyFailure = (code: string, hints: BodyHints): ServiceFailure | undefined => {
  const { accepts = 'application/json', bytesMax } = hints
  if (code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE') {
    return new ServiceFailure('UNSUPPORTED_MEDIA_TYPE', `Send the body as ${accepts}.`)
  }
  if (code !== 'FST_ERR_CTP_BODY_TOO_LARGE') return undefined
  const { tooLarge = `The body exceeds the limit of this route: ${bytesMax} bytes.` } = hints
  return new ServiceFailure('PAYLOAD_TOO_LARGE', tooLarge)
}

export const noSuchRoute = (): ServiceFailure => new ServiceFailure('NOT_FOUND', 'No route matches this path.')

/** The failure that the client gets for a thrown error. An unknown error becomes INTERNAL, with itself as the cause. */
export const toClientFailure = (error: unknown, hints: BodyHints = {}): ServiceFailure => {
  if (error instanceof ServiceFailure) return error
  const thrown = error as { code?: string, statusCode?: number, validation?: unknown }
  const { code = '', statusCode = 500, validation } = thrown
  if (validation !== undefined) return validationFailure(toFieldErrors(error as { validation: unknown }))
  const ofBody = bodyFailure(code, hints)
  if (ofBody !== undefined) return ofBody
  if (statusCode >= 400 && statusCode < 500) {
    if (error instanceof SyntaxError || code.startsWith('FST_ERR_CTP_')) {
      return brokenRule('body', 'json', 'must be well-formed JSON, without __proto__')
    }
    // @fastify/static, which serves /docs, throws such errors for paths outside its folder.
    return noSuchRoute()
  }
  const detail = 'The service failed to process the request; see the log for the reason.'
  return new ServiceFailure('INTERNAL', detail, {}, { cause: error })
}

/** What decides the shape of a failure. */
export type FailedRequest = {
  /** The path as the client wrote it. */
  path: string
  accept: string | undefined
  /** The pattern of the matched route; the path if none matched. */
  route: string
}

const toEnvelope = ({ code, message, facts }: ServiceFailure): TaskError => {
  const { retryAfterSeconds: _, challenge: __, ...details } = facts
  return { success: false, error: { code, message, ...(Object.keys(details).length === 0 ? {} : { details }) } }
}

const toProblem = (path: string, { code, message, facts }: ServiceFailure): Problem => {
  const { status, title } = catalogue[code]
  const { retryAfterSeconds: _, challenge: __, ...members } = facts
  return { type: 'about:blank', title, status, detail: message, instance: path, code, ...members }
}

/** Status code, headers and body of a failure: an envelope under /api/jobs and /api/sanitize, RFC 9457 elsewhere. */
export const toFailureResponse = (
  { path, accept, route }: FailedRequest, failure: ServiceFailure
): { status: number, headers: Record<string, string>, body: string } => {
  const { code, facts: { retryAfterSeconds, challenge } } = failure
  const isEnvelope = envelopePaths.test(route)
  const mediaType = isEnvelope || !prefersProblemJson(accept) ? 'application/json' : 'application/problem+json'
  const headers: Record<string, string> = { 'content-type': `${mediaType}; charset=utf-8`, 'cache-control': 'no-store' }
  if (challenge !== undefined) headers['www-authenticate'] = challenge
  if (retryAfterSeconds !== undefined) headers['retry-after'] = String(retryAfterSeconds)
  const body = JSON.stringify(isEnvelope ? toEnvelope(failure) : toProblem(path, failure))
  return { status: catalogue[code].status, headers, body }
}

/** What decides the shape of a failure of this request. */
export const toFailedRequest = (request: FastifyRequest): FailedRequest => {
  const path = pathOf(request.originalUrl)
  return { path, accept: request.headers.accept, route: routeOf(request).url ?? path }
}

/** Sends a failure as the response. */
export const sendFailure = (request: FastifyRequest, reply: FastifyReply, failure: ServiceFailure) => {
  const { status, headers, body } = toFailureResponse(toFailedRequest(request), failure)
  // A user who reports the error can quote the id that is in the log.
  if (status >= 500) reply.header('x-request-id', request.id)
  return reply.code(status).headers(headers).send(body)
}
