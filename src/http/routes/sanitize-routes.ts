import { Readable } from 'node:stream'
import { type FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { type Static, Type } from '@sinclair/typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { type FailureCode, ServiceFailure } from '../../errors.ts'
import { StringEnum } from '../../job/job.ts'
import { normalizations, rawContentTypes, SanitizeInput } from '../../job/sanitize-input.ts'
import type { StoreInput } from '../../write/store-input.ts'
import type { Submitted, SubmitJob } from '../../write/submit-job.ts'
import {
  acceptedHeaders, awaitAccepted, type AwaitAcceptedNeeds, idempotencyHeader, requireAcceptedType, setAcceptedHeaders
} from './accepted-response.ts'
import { callbackFields, type CallbackRules, toCallback } from './callback-fields.ts'
import { baseUrlOf } from '../headers/base-url.ts'
import { mayWait, waitParameter } from '../headers/wait.ts'
import { mediaTypeOf } from '../headers/media-type.ts'
import { withExamples } from '../openapi/content.ts'
import { exampleJobId, exampleOrigin } from '../openapi/examples.ts'
import { failureResponses, jsonResponse } from '../openapi/responses.ts'
import { brokenRule } from '../problem.ts'
import { cancelPath, resultPath, statusPath } from '../paths.ts'
import { principalOf } from '../auth/principal.ts'
import { requireUtf8 } from '../bodies/json-body.ts'
import { rejectMisdeclaredJson } from '../bodies/misdeclared-json.ts'
import { chunksOf, takeRawBodies } from '../bodies/raw-body.ts'

export type SanitizeRouteNeeds = AwaitAcceptedNeeds & {
  submitJob: SubmitJob
  storeInput: StoreInput
  /** Throws VALIDATION_FAILED if the content cannot be sanitized, and OVERLOADED. */
  sanitizeNow: (
    content: SanitizeInput, signal: AbortSignal
  ) => Promise<{ sanitized: string, contentType: string, removed: Partial<Record<string, number>> }>
  /** The only job types accepted; null: any. */
  jobTypes: readonly string[] | null
  callbacks: CallbackRules
  publicUrl: string | null
}

const asyncPath = '/api/sanitize/async'
const syncBytesMax = 1024 * 1024
// Parsing JSON blocks the event loop. Larger contents are sent as raw bytes, which this process does not parse.
const jsonBytesMax = 4 * 1024 * 1024

const SanitizedResponse = Type.Object({
  success: Type.Literal(true),
  data: Type.Object({
    sanitized: Type.String(),
    contentType: Type.String(),
    removed: Type.Record(Type.String(), Type.Integer({ minimum: 1 }), {
      description: 'Counts of what was removed, by kind; kinds with count 0 are absent.'
    })
  })
}, { additionalProperties: false })

const AcceptedTask = Type.Object({
  success: Type.Literal(true),
  data: Type.Object({
    taskId: Type.String(),
    status: StringEnum(['queued', 'running', 'succeeded', 'failed', 'cancelled']),
    statusUrl: Type.String({ format: 'uri' }),
    resultUrl: Type.String({ format: 'uri' }),
    cancelUrl: Type.String({ format: 'uri' })
  })
}, { additionalProperties: false })

const sanitizeExamples = {
  html: { summary: 'HTML', value: { content: '<b onclick="x()">hi</b><script></script>', contentType: 'text/html' } },
  text: { summary: 'Plain text', value: { content: 'zero\u200bwidth', contentType: 'text/plain' } },
  json: {
    summary: 'The strings of a JSON document',
    value: { content: '{"a":"x\u200by"}', contentType: 'application/json', options: { normalization: 'NFKC' } }
  }
}

const SanitizeBody = withExamples(SanitizeInput, sanitizeExamples)

const AsyncInput = Type.Object({ ...SanitizeInput.properties, ...callbackFields }, { additionalProperties: false })
const AsyncBody = withExamples(AsyncInput, sanitizeExamples)

const sanitizedExample = {
  summary: 'HTML',
  value: {
    success: true, data: { sanitized: '<b>hi</b>', contentType: 'text/html', removed: { attribute: 1, element: 1 } }
  }
}

const acceptedUrlExample = (toPath: typeof statusPath) => exampleOrigin + toPath('task', exampleJobId)

const acceptedExample = {
  summary: 'Accepted',
  value: {
    success: true,
    data: {
      taskId: exampleJobId,
      status: 'queued',
      statusUrl: acceptedUrlExample(statusPath),
      resultUrl: acceptedUrlExample(resultPath),
      cancelUrl: acceptedUrlExample(cancelPath)
    }
  }
}

const commonCodes: readonly FailureCode[] =
  ['VALIDATION_FAILED', 'UNAUTHORIZED', 'FORBIDDEN', 'PAYLOAD_TOO_LARGE', 'UNSUPPORTED_MEDIA_TYPE', 'INTERNAL']

const syncTooLarge = `The content exceeds the limit of this route: send it to ${asyncPath}.`

// By the content and not by its JSON, where each quote and line end counts twice, and an escaped character up to six
// times.
const requireSmallContent = (content: string): void => {
  if (Buffer.byteLength(content) > syncBytesMax) throw new ServiceFailure('PAYLOAD_TOO_LARGE', syncTooLarge)
}

const syncRoute: FastifyPluginAsyncTypebox<SanitizeRouteNeeds> = (app, { sanitizeNow }) => {
  app.post('/api/sanitize', {
    config: {
      scope: 'jobs:write',
      writesNothing: true,
      tooLarge: syncTooLarge
    },
    bodyLimit: jsonBytesMax,
    schema: {
      operationId: 'sanitize',
      summary: 'Sanitize a content at once',
      description: `For contents of up to 1 MiB, in JSON of up to 4 MiB; send larger ones to ${asyncPath}. The response format never changes.`,
      tags: ['Sanitize'],
      body: SanitizeBody,
      response: {
        200: jsonResponse('The sanitized content, and counts of what was removed.', SanitizedResponse, {
          headers: { 'Cache-Control': acceptedHeaders['Cache-Control'] }, examples: { sanitized: sanitizedExample }
        }),
        ...failureResponses([...commonCodes, 'OVERLOADED'], 'TaskError')
      }
    }
  }, async (request, reply) => {
    requireSmallContent(request.body.content)
    const disconnected = new AbortController()
    reply.raw.once('close', () => { disconnected.abort() })
    const { sanitized, contentType, removed } = await sanitizeNow(request.body, disconnected.signal)
    return reply.header('cache-control', 'no-store').type('application/json; charset=utf-8')
      .send(JSON.stringify({ success: true, data: { sanitized, contentType, removed } }))
  })
  return Promise.resolve()
}

const Query = Type.Object({
  normalization: Type.Optional(StringEnum(normalizations, { description: 'Of a raw body. Default: NFC.' })),
  wait: waitParameter
}, { additionalProperties: false })

const rawExamples = {
  'text/html': '<b onclick="x()">hi</b><script>x()</script>',
  'text/plain': 'zero\u200bwidth',
  'application/x-ndjson': '{"a":"x\u200by"}\n{"a":"z"}\n'
}

const rawBodies = Object.fromEntries(rawContentTypes.map(type => {
  const schema = Type.String({ description: 'The content as raw bytes, in UTF-8.' })
  return [type, { schema: withExamples(schema, { content: { summary: type, value: rawExamples[type] } }) }]
}))
const rawTypesText = rawContentTypes.join(', ')

const sendAccepted = (
  request: FastifyRequest, reply: FastifyReply, { jobId, entry, replayed }: Submitted, publicUrl: string | null
) => {
  const { state } = entry
  const baseUrl = baseUrlOf(request, publicUrl)
  setAcceptedHeaders(reply, { entry, replayed, baseUrl })
  const [statusUrl, resultUrl, cancelUrl] =
    [statusPath, resultPath, cancelPath].map(toPath => baseUrl + toPath('task', jobId))
  return reply.code(202).type('application/json; charset=utf-8')
    .send(JSON.stringify({ success: true, data: { taskId: jobId, status: state, statusUrl, resultUrl, cancelUrl } }))
}

const asyncCodes: readonly FailureCode[] =
  [...commonCodes, 'CALLBACK_REFUSED', 'JOB_NOT_FOUND', 'JOB_EXPIRED', 'IDEMPOTENCY_KEY_REUSED', 'STORE_UNAVAILABLE']

const asyncDescription =
  `Takes the JSON of \`/api/sanitize\`, or the content as raw bytes of up to INPUT_BYTES_MAX, which are
stored as they arrive. The result is the sanitized content; the counts of what was removed are in the status and in the
table SanitizationEvent. HTML of more than 4 MiB fails with INPUT_TOO_LARGE. With \`wait\` the response is held until the
job has ended, and shows its end. Only JSON can name a callbackUrl.`

// Apart from the route: while a client waits for the end of its job, nothing holds the content.
const createSubmit = ({ submitJob, storeInput, jobTypes, callbacks }: SanitizeRouteNeeds) => {
  const submitContent = async (request: FastifyRequest, key: string | null): Promise<Submitted> => {
    const { subject, tenant, allTenants } = principalOf(request)
    const { callbackUrl, callbackSecret, ...input } = request.body as Static<typeof AsyncInput>
    const submission = { type: 'sanitize', input, ...toCallback({ callbackUrl, callbackSecret }, callbacks) }
    return await submitJob({ subject, tenant, allTenants }, submission, key)
  }

  const submitBytes = async (
    request: FastifyRequest, bytes: Readable, normalization: string | undefined, key: string | null
  ): Promise<Submitted> => {
    const header = request.headers['content-type']
    requireUtf8(header)
    const contentType = mediaTypeOf(header ?? '')
    const { subject, tenant, allTenants } = principalOf(request)
    const chunks = contentType === 'text/plain' ? rejectMisdeclaredJson(chunksOf(bytes), jsonBytesMax) : chunksOf(bytes)
    const raw = await storeInput(chunks, contentType, Number(request.headers['content-length'] ?? 0))
    const input = { contentType, ...(normalization === undefined ? {} : { options: { normalization } }) }
    return await submitJob({ subject, tenant, allTenants }, { type: 'sanitize', input }, key, raw)
  }

  return async (
    request: FastifyRequest, normalization: string | undefined, key: string | null
  ): Promise<Submitted> => {
    const { body } = request
    requireAcceptedType('sanitize', jobTypes)
    if (body instanceof Readable) return await submitBytes(request, body, normalization, key)
    if (normalization === undefined) return await submitContent(request, key)
    throw brokenRule('normalization', 'rawBody', 'in the query applies to raw bodies: send it in options')
  }
}

const asyncRoute: FastifyPluginAsyncTypebox<SanitizeRouteNeeds> = (app, needs) => {
  const { publicUrl } = needs
  const submit = createSubmit(needs)
  takeRawBodies(app, [...rawContentTypes])
  app.post(asyncPath, {
    config: {
      scope: 'jobs:write',
      isStreamed: true,
      accepts: `application/json, ${rawTypesText}`,
      tooLarge: `A JSON body has at most ${jsonBytesMax} bytes: send the content as raw bytes, as ${rawTypesText}.`
    },
    bodyLimit: jsonBytesMax,
    schema: {
      operationId: 'sanitizeAsync',
      summary: 'Sanitize a content as a job',
      description: asyncDescription,
      tags: ['Sanitize'],
      headers: idempotencyHeader,
      querystring: Query,
      body: { content: { 'application/json': { schema: AsyncBody }, ...rawBodies } },
      response: mayWait({
        202: jsonResponse('Accepted: the URLs of the status, the result and the cancellation.', AcceptedTask, {
          headers: acceptedHeaders, examples: { accepted: acceptedExample }
        }),
        ...failureResponses(asyncCodes, 'TaskError')
      })
    }
  }, async (request, reply) => {
    const { query, headers: { 'idempotency-key': key = null } } = request
    const submitted = await submit(request, query.normalization, key)
    const { jobId, replayed } = submitted
    request.log.info({ jobId, type: 'sanitize', replayed }, 'submitted')
    const entry = await awaitAccepted(needs, { request, reply, wait: query.wait }, submitted)
    return sendAccepted(request, reply, { ...submitted, entry }, publicUrl)
  })
  return Promise.resolve()
}

/** Sanitizes a content at once, or as a job. */
export const sanitizeRoutes: FastifyPluginAsyncTypebox<SanitizeRouteNeeds> = async (app, needs) => {
  await app.register(syncRoute, needs)
  await app.register(asyncRoute, needs)
}
