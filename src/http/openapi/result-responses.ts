import { Type } from '@sinclair/typebox'
import { type FailureCode } from '../../errors.ts'
import { emptyResponse, failureResponses, jsonResponse, statusHeaders } from './responses.ts'

/*
 * What the result routes say of themselves in the OpenAPI document.
 */

const text = (description: string) => Type.String({ description })

const contentHeaders = {
  'Content-Disposition': text('The name of the file; `attachment` for whatever a browser would run.'),
  'Content-Security-Policy': text('Nothing in the bytes is run.'),
  'Cache-Control': text('`private, max-age=…, immutable`, never past the time of removal; `private, no-store` with `partial`.'),
  Vary: text('Authorization, Accept'),
  'X-Content-Type-Options': text('nosniff')
}

const validators = {
  ETag: text('A strong one, of the whole result: for If-None-Match and If-Range.'),
  'Repr-Digest': text('SHA-256 of the whole result (RFC 9530).'),
  'Accept-Ranges': text('bytes'),
  Expires: text('When the result is due to be removed.')
}

const { 'Job-State': jobState, 'Job-Progress': jobProgress, 'Retry-After': retryAfter, 'retry-after-ms': retryAfterMs } = statusHeaders

const partialHeaders = {
  'Job-Result': text('With `partial` only. `partial`: there may be more to come; `complete`: that was the last of it.'),
  'Job-Result-Offset': Type.Integer({ minimum: 0, description: 'With `partial` only: the `offset` to go on from.' }),
  'Job-Attempt': Type.Integer({ minimum: 0, description: 'With `partial` only: the attempt that made the bytes. Another attempt begins anew: throw away what you have, and start again at 0.' }),
  'Job-State': jobState,
  'Job-Progress': jobProgress,
  'Retry-After': retryAfter,
  'retry-after-ms': retryAfterMs
}

const bytes = { '*/*': { schema: Type.Unsafe<unknown>({ type: 'string', format: 'binary' }) } }

const contentRange = text('Which bytes of how many; `bytes */N`: there are N.')

const failureCodes: readonly FailureCode[] = [
  'VALIDATION_FAILED', 'UNAUTHORIZED', 'FORBIDDEN', 'JOB_NOT_FOUND', 'NO_RESULT', 'JOB_FAILED', 'JOB_CANCELLED', 'JOB_EXPIRED',
  'RESULT_EXPIRED', 'UNSUPPORTED_MEDIA_TYPE', 'RANGE_NOT_SATISFIABLE', 'INTERNAL', 'STORE_UNAVAILABLE'
]

const resultFailureResponses = (more: readonly FailureCode[], shape: 'Problem' | 'TaskError') => {
  const answers = failureResponses([...failureCodes, ...more], shape)
  const notSatisfiable = answers[416]
  if (notSatisfiable === undefined) return answers
  const headers = { ...notSatisfiable.headers, ...partialHeaders, 'Content-Range': contentRange }
  return { ...answers, 416: { ...notSatisfiable, headers } }
}

/** Every answer of a result route, by status code. */
export const resultResponses = (statusSchema: 'JobStatus' | 'TaskStatus') => ({
  200: {
    description: 'The bytes as stored; with `partial` those that are there from `offset` on.',
    headers: { ...contentHeaders, ...validators, ...partialHeaders, 'Content-Length': Type.Integer() },
    content: bytes
  },
  202: jsonResponse('Not finished: the status instead.', Type.Ref(statusSchema), { headers: statusHeaders }),
  206: {
    description: 'The bytes of one range.',
    headers: { ...contentHeaders, ...validators, 'Content-Length': Type.Integer(), 'Content-Range': contentRange },
    content: bytes
  },
  303: emptyResponse('The result is elsewhere.', { Location: Type.String({ format: 'uri' }), 'Cache-Control': text('private, no-cache') }),
  304: emptyResponse('The client has these bytes already.', { ...contentHeaders, ...validators }),
  ...(statusSchema === 'JobStatus' ? resultFailureResponses([], 'Problem') : resultFailureResponses(['INVALID_TASK_ID'], 'TaskError'))
})

/** What the routes say in words. */
export const resultDescription = `Resumable: ask again with \`Range\`, and with the ETag in \`If-Range\`. HEAD takes no Range.

\`partial=true\` gives the bytes that a running job has sent so far; go on with \`offset\` from \`Job-Result-Offset\` until
\`Job-Result\` is \`complete\`. As long as \`Job-Attempt\` stays the same the bytes belong together: a job that is run
again makes its result anew. Before the job runs, and where nothing can be had while it runs, the answer is 202.`

/** What can be asked for, in the query. */
export const ResultQuery = Type.Object({
  partial: Type.Optional(Type.Boolean({ description: 'Also what a running job has sent so far.' })),
  offset: Type.Optional(Type.Integer({
    minimum: 0, maximum: Number.MAX_SAFE_INTEGER, description: 'Where to begin; with `partial` only. Default 0.'
  }))
})

/** The headers that decide which bytes are sent. */
export const resultRequestHeaders = Type.Object({
  'if-none-match': Type.Optional(text('Entity tags the client has; a match is answered 304.')),
  range: Type.Optional(text('One range of bytes, like `bytes=0-1023`, `bytes=1024-` or `bytes=-1024`. Several are answered with the whole.')),
  'if-range': Type.Optional(text('The ETag of the bytes that the client has: unless it is still that, Range is ignored.'))
})
