import { Readable } from 'node:stream'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { type Static, Type } from '@sinclair/typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { FailureCode } from '../../../errors.ts'
import { StringEnum } from '../../../job/schema-kinds.ts'
import { normalizations, rawContentTypes, SanitizeInput } from '../../../job/sanitize-input.ts'
import type { StoreInput } from '../../../write/store-input.ts'
import type { Submitted, SubmitJob } from '../../../write/submit-job.ts'
import { principalOf } from '../../auth/principal.ts'
import { requireUtf8 } from '../../bodies/json-body.ts'
import { rejectMisdeclaredJson } from '../../bodies/misdeclared-json.ts'
import { chunksOf, takeRawBodies } from '../../bodies/raw-body.ts'
import { baseUrlOf } from '../../headers/base-url.ts'
import { mediaTypeOf } from '../../headers/media-type.ts'
import { mayWait, waitParameter } from '../../headers/wait.ts'
import { withExamples } from '../../openapi/content.ts'
import { exampleJobId, exampleOrigin } from '../../openapi/examples.ts'
import { failureResponses, jsonResponse } from '../../openapi/responses.ts'
import { cancelPath, resultPath, statusPath } from '../../paths.ts'
import { brokenRule } from '../../problem.ts'
import {
  acceptedHeaders, awaitAccepted, type AwaitAcceptedNeeds, idempotencyHeader, requireAcceptedType, setAcceptedHeaders
} from './accepted-response.ts'
import { callbackFields, type CallbackRules, toCallback } from './callback-fields.ts'
import { jsonBytesMax, sanitizeAsyncPath, sanitizeCodes, sanitizeExamples } from './sanitize-common.ts'

export type SanitizeAsyncRouteNeeds = AwaitAcceptedNeeds & {
  submitJob: SubmitJob
  storeInput: StoreInput
  /** The only job types accepted; null: any. */
  jobTypes: readonly string[] | null
  callbacks: CallbackRules
  publicUrl: string | null
}

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

const AsyncInput = Type.Object({ ...SanitizeInput.properties, ...callbackFields }, { additionalProperties: false })
const AsyncBody = withExamples(AsyncInput, sanitizeExamples)

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
  [...sanitizeCodes, 'CALLBACK_REFUSED', 'JOB_NOT_FOUND', 'JOB_EXPIRED', 'IDEMPOTENCY_KEY_REUSED', 'STORE_UNAVAILABLE']

const asyncDescription =
  `Takes the JSON of \`/api/sanitize\`, or the content as raw bytes of up to INPUT_BYTES_MAX, which are
stored as they arrive. The result is the sanitized content; the counts of what was removed are in the status and in the
table SanitizationEvent. HTML of more than 4 MiB fails with INPUT_TOO_LARGE. With \`wait\` the response is held until the
job has ended, and shows its end. Only JSON can name a callbackUrl.`

// Apart from the route: while a client waits for the end of its job, nothing holds the content.
const createSubmit = ({ submitJob, storeInput, jobTypes, callbacks }: SanitizeAsyncRouteNeeds) => {
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

/** Takes a content to sanitize as a job. */
export const sanitizeAsyncRoutes: FastifyPluginAsyncTypebox<SanitizeAsyncRouteNeeds> = (app, needs) => {
  const { publicUrl } = needs
  const submit = createSubmit(needs)
  takeRawBodies(app, [...rawContentTypes])
  app.post(sanitizeAsyncPath, {
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
