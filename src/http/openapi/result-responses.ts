import { Type } from '@sinclair/typebox'
import type { FailureCode } from '../../errors.ts'
import { mayWait, waitParameter } from '../headers/wait.ts'
import { anyBytes, anyContent } from './content.ts'
import { jobStatusExamples, taskStatusExamples } from './examples.ts'
import { emptyResponse, failureResponses, jsonResponse, statusHeaders } from './responses.ts'

/*
 * The documented requests and responses of the result routes.
 */

const text = (description: string) => Type.String({ description })

/** The headers of bytes that a client or a worker sent. */
export const contentHeaders = {
  'Content-Disposition': text('The name of the file; `attachment` for media types with active content, like HTML.'),
  'Content-Security-Policy': text("default-src 'none'; sandbox: a browser runs no script of the result."),
  'Cache-Control': text('`private, max-age=…, immutable`, never past the removal; `private, no-store` with `partial`.'),
  Vary: text('Authorization, Accept'),
  'X-Content-Type-Options': text('nosniff')
}

const validators = {
  ETag: text('Strong entity tag of the whole result, for If-None-Match and If-Range.'),
  'Repr-Digest': text('SHA-256 of the whole result (RFC 9530).'),
  'Accept-Ranges': text('bytes'),
  Expires: text('The time at which the result will be removed.')
}

const partialHeaders = {
  'Job-Result': text('With `partial` only. `partial`: more bytes may follow; `complete`: the result is complete.'),
  'Job-Result-Offset': Type.Integer({
    minimum: 0, description: 'With `partial` only: the `offset` of the next request.'
  }),
  'Job-Attempt': Type.Integer({
    minimum: 0,
    description: `With \`partial\` only: the number of the run that produced the bytes; released runs count here. If it
      changes, discard what you have and start at offset 0.`
  }),
  'Job-State': statusHeaders['Job-State'],
  'Job-Progress': statusHeaders['Job-Progress'],
  'Retry-After': statusHeaders['Retry-After'],
  'retry-after-ms': statusHeaders['retry-after-ms']
}

const contentRange = text('The range and the size of the result, like `bytes 0-1023/4096`; `bytes */4096` with 416.')

const failureCodes: readonly FailureCode[] = [
  'VALIDATION_FAILED', 'UNAUTHORIZED', 'FORBIDDEN', 'JOB_NOT_FOUND', 'NO_RESULT', 'JOB_FAILED', 'JOB_CANCELLED',
  'JOB_EXPIRED', 'RESULT_EXPIRED', 'UNSUPPORTED_MEDIA_TYPE', 'RANGE_NOT_SATISFIABLE', 'INTERNAL', 'STORE_UNAVAILABLE'
]

const resultFailureResponses = (more: readonly FailureCode[], shape: 'Problem' | 'TaskError') => {
  const responses = failureResponses([...failureCodes, ...more], shape)
  const notSatisfiable = responses[416]
  if (notSatisfiable === undefined) return responses
  const headers = { ...notSatisfiable.headers, ...partialHeaders, 'Content-Range': contentRange }
  return { ...responses, 416: { ...notSatisfiable, headers } }
}

/** Every response of a result route, by status code. */
export const resultResponses = (statusSchema: 'JobStatus' | 'TaskStatus') => mayWait({
  200: {
    description: 'The stored bytes; with `partial` those from `offset` on.',
    headers: { ...contentHeaders, ...validators, ...partialHeaders, 'Content-Length': Type.Integer() },
    content: anyContent
  },
  202: jsonResponse('The job has not finished: its status.', Type.Ref(statusSchema), {
    headers: statusHeaders,
    examples: statusSchema === 'JobStatus'
      ? { queued: jobStatusExamples.queued, running: jobStatusExamples.running }
      : { queued: taskStatusExamples.queued, running: taskStatusExamples.running }
  }),
  206: {
    description: 'The bytes of one range.',
    headers: { ...contentHeaders, ...validators, 'Content-Length': Type.Integer(), 'Content-Range': contentRange },
    // A part of JSON is no JSON.
    content: anyBytes
  },
  303: emptyResponse('The result is stored at another URL.', {
    Location: Type.String({ format: 'uri' }), 'Cache-Control': text('private, no-cache')
  }),
  304: emptyResponse('The client already has this result.', { ...contentHeaders, ...validators }),
  ...(statusSchema === 'JobStatus'
    ? resultFailureResponses([], 'Problem')
    : resultFailureResponses(['INVALID_TASK_ID'], 'TaskError'))
})

/** The description of both result routes. */
export const resultDescription = `Resume a download with \`Range\` and the ETag in \`If-Range\`. HEAD ignores Range.

\`partial=true\` returns the bytes that a running job has uploaded so far. Continue with \`offset\` from
\`Job-Result-Offset\` until \`Job-Result\` is \`complete\`. Bytes belong together as long as \`Job-Attempt\` stays the same:
another attempt produces the result again from the start. The response is 202 before the job runs, and while no bytes of
a running job are available.

\`wait\` holds the response while it would be 202.`

/** The query of a result route. */
export const ResultQuery = Type.Object({
  partial: Type.Optional(Type.Boolean({ description: 'Also return what a running job has uploaded so far.' })),
  offset: Type.Optional(Type.Integer({
    minimum: 0,
    maximum: Number.MAX_SAFE_INTEGER,
    description: 'The first byte to return; with `partial` only. Default: 0.'
  })),
  wait: waitParameter
})

/** The request headers that select the bytes. */
export const resultRequestHeaders = Type.Object({
  'if-match': Type.Optional(text('Entity tags of which one must be that of the response; otherwise it is 412.')),
  'if-none-match': Type.Optional(text('Entity tags that the client has; the response to a match is 304.')),
  range: Type.Optional(text(
    'One range of bytes, like `bytes=0-1023`, `bytes=1024-` or `bytes=-1024`. Several ranges are ignored.'
  )),
  'if-range': Type.Optional(text('The ETag of the bytes that the client has. Range is ignored if the ETag differs.'))
})
