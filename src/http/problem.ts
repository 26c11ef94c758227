import { type Violation, violationsReportedMax } from '../schema-check.ts'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { catalogue, type FieldError, ServiceFailure } from '../errors.ts'
import type { Problem, TaskError } from './openapi/schemas.ts'

const qualityOf = (accept: string, mediaType: string): number => {
  const [type = ''] = mediaType.split('/')
  let best = { specificity: -1, quality: 0 }
  for (const part of accept.split(',')) {
    const [range = '', ...parameters] = part.split(';').map(text => text.trim().toLowerCase())
    const specificity = ['*/*', `${type}/*`, mediaType].indexOf(range)
    if (specificity <= best.specificity) continue
    const quality = parameters.find(parameter => parameter.startsWith('q='))
    best = { specificity, quality: quality === undefined ? 1 : Number(quality.slice(2)) || 0 }
  }
  return best.quality
}

// Whether the client wants problem+json at least as much as plain JSON; low-code clients mostly do not.
const prefersProblemJson = (accept: string | undefined): boolean => {
  if (accept === undefined) return true
  const quality = qualityOf(accept, 'application/problem+json')
  return quality > 0 && quality >= qualityOf(accept, 'application/json')
}

/** The path of a target, as the client wrote it, without the query, and without the origin that a target may begin with. */
export const pathOf = (url: string): string =>
  url.replace(/^https?:\/\/[^/?]*/, '').split('?', 1)[0] ?? ''

const envelopePaths = /^\/api\/(jobs|sanitize)(\/|$)/

const toFieldErrors = (error: { validation?: unknown, validationContext?: string }): FieldError[] => {
  const violations = error.validation as Violation[]
  return violations.slice(0, violationsReportedMax).map(violation => toFieldError(violation, error.validationContext ?? 'body'))
}

/** Names the field by its path, like `input.format`; the whole is called by `whole`. */
export const toFieldError = ({ instancePath, keyword, message, params }: Violation, whole: string): FieldError => {
  const missing = params.missingProperty ?? params.additionalProperty
  const path = instancePath.split('/').slice(1).map(step => step.replaceAll('~1', '/').replaceAll('~0', '~'))
  if (typeof missing === 'string') path.push(missing)
  const field = path.length === 0 ? whole : path.join('.').slice(0, 200)
  const allowed = Array.isArray(params.allowedValues) ? `: ${params.allowedValues.join(', ')}` : ''
  if (keyword === 'additionalProperties') return { field, rule: keyword, message: `${field} is not a known field` }
  if (keyword === 'required') return { field, rule: keyword, message: `${field} is required` }
  return { field, rule: keyword, message: `${field} ${message ?? 'is not valid'}${allowed}` }
}

/** A failure of validation that names every broken rule. */
export const validationFailure = (errors: FieldError[]): ServiceFailure =>
  new ServiceFailure('VALIDATION_FAILED', errors.map(error => error.message).join('; ').slice(0, 1000), { errors })

/** A failure of validation by one rule; `message` goes on after the name of the field. */
export const brokenRule = (field: string, rule: string, message: string): ServiceFailure =>
  validationFailure([{ field, rule, message: `${field} ${message}` }])

/** What a route says of bodies that it does not take. */
export type BodyHints = { tooLarge?: string, accepts?: string, bytesMax?: number }

const bodyFailure = (code: string, { tooLarge, accepts = 'application/json', bytesMax }: BodyHints): ServiceFailure | undefined => {
  if (code === 'FST_ERR_CTP_INVALID_MEDIA_TYPE') return new ServiceFailure('UNSUPPORTED_MEDIA_TYPE', `Send the body as ${accepts}.`)
  if (code !== 'FST_ERR_CTP_BODY_TOO_LARGE') return undefined
  return new ServiceFailure('PAYLOAD_TOO_LARGE', tooLarge ?? `The body is larger than this route accepts: at most ${bytesMax} bytes.`)
}

/** Whatever was thrown, as the client may hear of it. */
export const toClientFailure = (error: unknown, hints: BodyHints = {}): ServiceFailure => {
  if (error instanceof ServiceFailure) return error
  const { code = '', statusCode = 500, validation } = error as { code?: string, statusCode?: number, validation?: unknown }
  if (validation !== undefined) return validationFailure(toFieldErrors(error as { validation: unknown }))
  const refused = bodyFailure(code, hints)
  if (refused !== undefined) return refused
  if (statusCode >= 400 && statusCode < 500) {
    if (error instanceof SyntaxError || code.startsWith('FST_ERR_CTP_')) {
      return brokenRule('body', 'json', 'must be well-formed JSON, without __proto__')
    }
    // The files of the documentation refuse paths that lead out of their folder, and the like.
    return new ServiceFailure('NOT_FOUND', 'There is nothing at this path.')
  }
  return new ServiceFailure('INTERNAL', 'The request could not be answered; the log has the reason.', {}, { cause: error })
}

type FailedRequest = {
  /** As the client wrote it. */
  path: string
  accept: string | undefined
  /** The path, or the pattern of its route. */
  route: string
}

const toEnvelope = ({ code, message, facts }: ServiceFailure): TaskError => {
  const { retryAfterSeconds: _, ...details } = facts
  return { success: false, error: { code, message, ...(Object.keys(details).length === 0 ? {} : { details }) } }
}

const toProblem = (path: string, { code, message, facts }: ServiceFailure): Problem => {
  const { status, title } = catalogue[code]
  const { retryAfterSeconds: _, ...members } = facts
  return { type: 'about:blank', title, status, detail: message, instance: path, code, ...members }
}

/** A failure in the shape that a path promises: the status code, the headers and the body. */
export const toFailureResponse = (
  { path, accept, route }: FailedRequest, failure: ServiceFailure
): { status: number, headers: Record<string, string>, body: string } => {
  const { code, facts: { retryAfterSeconds } } = failure
  const isEnvelope = envelopePaths.test(route)
  const mediaType = isEnvelope || !prefersProblemJson(accept) ? 'application/json' : 'application/problem+json'
  const headers: Record<string, string> = { 'content-type': `${mediaType}; charset=utf-8`, 'cache-control': 'no-store' }
  if (code === 'UNAUTHORIZED') headers['www-authenticate'] = 'Bearer'
  if (retryAfterSeconds !== undefined) headers['retry-after'] = String(retryAfterSeconds)
  const body = JSON.stringify(isEnvelope ? toEnvelope(failure) : toProblem(path, failure))
  return { status: catalogue[code].status, headers, body }
}

/** Answers with a failure. */
export const sendFailure = (request: FastifyRequest, reply: FastifyReply, failure: ServiceFailure) => {
  const path = pathOf(request.originalUrl)
  const { url: route = path } = request.routeOptions
  const { status, headers, body } = toFailureResponse({ path, accept: request.headers.accept, route }, failure)
  // For whoever asks us what the log says of it.
  if (status >= 500) reply.header('x-request-id', request.id)
  return reply.code(status).headers(headers).send(body)
}
