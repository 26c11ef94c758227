import { type TSchema, Type } from '@sinclair/typebox'
import { type FailureCode, catalogue } from '../../errors.ts'
import type { Example } from './content.ts'

/*
 * Parts of route schemas: the documented headers and responses.
 */

const text = (description: string) => Type.String({ description })

const headers = {
  etag: text('Incarnation of the database, version of the job, format of the body. Send it back in If-None-Match.'),
  cacheControl: text('private, no-cache; with `fresh` no-store.'),
  vary: text('Authorization, Accept'),
  retryAfter: Type.Integer({
    minimum: 1, description: 'Poll again after this many seconds; absent once the job has finished.'
  }),
  retryAfterMs: Type.Integer({ minimum: 1, description: 'The same time in milliseconds.' }),
  jobState: text('queued, running, succeeded, failed or cancelled.'),
  jobProgress: Type.Integer({ minimum: 0, maximum: 100, description: 'Percent.' }),
  link: text('rel="status"; rel="result" unless the job can have none; rel="cancel" while this service can cancel it; rel="events" until it has ended.')
}

/** The headers of every status response. */
export const statusHeaders = {
  ETag: headers.etag,
  'Cache-Control': headers.cacheControl,
  Vary: headers.vary,
  'Retry-After': headers.retryAfter,
  'retry-after-ms': headers.retryAfterMs,
  'Job-State': headers.jobState,
  'Job-Progress': headers.jobProgress,
  Link: headers.link
}

const ifMatch = text('Entity tags of which one must be that of the job as it is; otherwise the response is 412.')

/** The request headers of a conditional request. */
export const conditionalHeaders = Type.Object({
  'if-match': Type.Optional(ifMatch),
  'if-none-match': Type.Optional(text('Entity tags that the client has; the response to a match is 304.'))
})

/** The request headers of a conditional change. */
export const preconditionHeaders = Type.Object({
  'if-match': Type.Optional(ifMatch),
  'if-none-match': Type.Optional(text('Entity tags of which none may be that of the job as it is.'))
})

/** A documented response with a JSON body. */
export const jsonResponse = (
  description: string,
  schema: TSchema,
  more: { headers?: Record<string, TSchema>, examples?: Record<string, Example> } = {}
) => ({
  description,
  ...(more.headers === undefined ? {} : { headers: more.headers }),
  content: { 'application/json': { schema, ...(more.examples === undefined ? {} : { examples: more.examples }) } }
})

/** A documented response without a body. */
export const emptyResponse = (description: string, responseHeaders?: Record<string, TSchema>) => ({
  description,
  type: 'null' as const,
  ...(responseHeaders === undefined ? {} : { headers: responseHeaders })
})

const hasStatus = (codes: readonly FailureCode[], isOne: (status: number) => boolean) =>
  codes.some(code => isOne(catalogue[code].status))

const failureHeaders = (codes: readonly FailureCode[]) => ({
  'Cache-Control': text('no-store'),
  ...(codes.includes('UNAUTHORIZED')
    ? { 'WWW-Authenticate': text('Bearer; where a token was sent, with error and error_description.') }
    : {}),
  ...(codes.includes('FORBIDDEN') ? { 'WWW-Authenticate': text('Bearer, with the missing scope.') } : {}),
  ...(hasStatus(codes, status => status >= 500) ? { 'x-request-id': text('The id of this request in the log.') } : {}),
  ...(hasStatus(codes, status => status === 429 || status === 503) ? { 'Retry-After': headers.retryAfter } : {})
})

const failureResponse = (codes: readonly FailureCode[], shape: 'Problem' | 'TaskError') => {
  const content = { schema: Type.Ref(shape) }
  return {
    description: codes.map(code => `\`${code}\`: ${catalogue[code].title}.`).join(' '),
    headers: failureHeaders(codes),
    content: shape === 'Problem'
      ? { 'application/json': content, 'application/problem+json': content }
      : { 'application/json': content }
  }
}

// Every route is subject to the limits of the connection and to the rules for headers (unsupported-headers.ts), and one
// that needs a client's token to the rate limit and to load shedding.
const withLimits = (codes: readonly FailureCode[], needsClient: boolean): readonly FailureCode[] =>
  [...new Set<FailureCode>([
    ...codes,
    'VALIDATION_FAILED', 'PRECONDITION_FAILED', 'REQUEST_TIMEOUT', 'HEADERS_TOO_LARGE',
    ...needsClient ? ['RATE_LIMITED', 'OVERLOADED'] as const : []
  ])]

// The path is not known if the headers are not: the failure then has the shape that most paths have.
const isBeforePath = (code: FailureCode, codes: readonly FailureCode[]): boolean =>
  code === 'HEADERS_TOO_LARGE' || (code === 'REQUEST_TIMEOUT' && !codes.includes('PAYLOAD_TOO_LARGE'))

/** The documented failures of a route, grouped by status code. `needsClient`: the route needs the token of a client. */
export const failureResponses = (
  listed: readonly FailureCode[], shape: 'Problem' | 'TaskError', needsClient = listed.includes('UNAUTHORIZED')
) => {
  const codes = withLimits(listed, needsClient)
  const byStatus = new Map<number, FailureCode[]>()
  for (const code of codes) {
    const { status } = catalogue[code]
    byStatus.set(status, [...byStatus.get(status) ?? [], code])
  }
  return Object.fromEntries([...byStatus].map(([status, group]) => {
    const isProblem = group.some(code => isBeforePath(code, codes))
    return [status, failureResponse(group, isProblem ? 'Problem' : shape)]
  }))
}
