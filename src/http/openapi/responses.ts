import { type TSchema, Type } from '@sinclair/typebox'
import { type FailureCode, catalogue } from '../../errors.ts'

/*
 * Pieces of route schemas that say in the OpenAPI document what the code does.
 */

const text = (description: string) => Type.String({ description })

const headers = {
  etag: text('Database incarnation, version and representation: send it back in If-None-Match.'),
  cacheControl: text('Always revalidate; never shared.'),
  vary: text('Authorization, Accept'),
  retryAfter: Type.Integer({ minimum: 1, description: 'Whole seconds after which asking again is worth it; absent once the job is terminal.' }),
  retryAfterMs: Type.Integer({ minimum: 1, description: 'The same in milliseconds.' }),
  jobState: text('queued, running, succeeded, failed or cancelled.'),
  jobProgress: Type.Integer({ minimum: 0, maximum: 100, description: 'Percent.' }),
  link: text('The routes of this job: rel="status"; rel="result" where there is one, or may be one yet; rel="cancel" while it can be cancelled here.')
}

/** The headers of every status answer. */
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

/** The headers with which a client sends an entity tag back. */
export const conditionalHeaders = Type.Object({
  'if-none-match': Type.Optional(Type.String({ description: 'Entity tags the client has; a match is answered 304.' }))
})

type Example = { summary: string, value: unknown }

/** One documented answer with a JSON body. */
export const jsonResponse = (
  description: string, schema: TSchema, more: { headers?: Record<string, TSchema>, examples?: Record<string, Example> } = {}
) => ({
  description,
  ...(more.headers === undefined ? {} : { headers: more.headers }),
  content: { 'application/json': { schema, ...(more.examples === undefined ? {} : { examples: more.examples }) } }
})

/** One documented answer without a body. */
export const emptyResponse = (description: string, answerHeaders?: Record<string, TSchema>) => ({
  description,
  type: 'null' as const,
  ...(answerHeaders === undefined ? {} : { headers: answerHeaders })
})

const failureHeaders = (codes: readonly FailureCode[]) => ({
  'Cache-Control': text('no-store'),
  ...(codes.includes('UNAUTHORIZED') ? { 'WWW-Authenticate': text('Bearer') } : {}),
  ...(codes.some(code => catalogue[code].status >= 500) ? { 'x-request-id': text('What the log calls this request.') } : {}),
  ...(codes.some(code => [429, 503].includes(catalogue[code].status)) ? { 'Retry-After': headers.retryAfter } : {})
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

// What every route that asks for a token may answer: the limits are looked at beside the token.
const withLimits = (codes: readonly FailureCode[]): readonly FailureCode[] =>
  codes.includes('UNAUTHORIZED') ? [...new Set<FailureCode>([...codes, 'RATE_LIMITED', 'OVERLOADED'])] : codes

/** The documented failures of a route, grouped by status code. */
export const failureResponses = (codes: readonly FailureCode[], shape: 'Problem' | 'TaskError') => {
  const byStatus = new Map<number, FailureCode[]>()
  for (const code of withLimits(codes)) {
    const { status } = catalogue[code]
    byStatus.set(status, [...byStatus.get(status) ?? [], code])
  }
  return Object.fromEntries([...byStatus].map(([status, group]) => [status, failureResponse(group, shape)]))
}
