import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import { type FailureCode, ServiceFailure } from '../../errors.ts'
import type { ReadInput } from '../../status/details/read-input.ts'
import { principalOf } from '../auth/principal.ts'
import { requireJobId } from '../job-id.ts'
import { anyContent } from '../openapi/content.ts'
import { JobParams } from '../openapi/params.ts'
import { failureResponses } from '../openapi/responses.ts'
import { contentHeaders } from '../openapi/result-responses.ts'
import { requireVisible, toStatusFact } from '../status-access.ts'
import { openBytes, setContentHeaders } from './results/send-result.ts'

export type InputRouteNeeds = { readInput: ReadInput }

const description =
  `The input as it was sent: the JSON text with every digit, or the bytes of a raw body with their media type. It is kept as
long as the record of the job. A job that another engine wrote has none, nor has one that ended under a release that
did not keep inputs.`

const failureCodes: readonly FailureCode[] = [
  'UNAUTHORIZED', 'FORBIDDEN', 'JOB_NOT_FOUND', 'NOT_FOUND', 'JOB_EXPIRED', 'UNSUPPORTED_MEDIA_TYPE', 'INTERNAL',
  'STORE_UNAVAILABLE'
]

const inputResponse = {
  description: 'The input.',
  headers: {
    ...contentHeaders,
    'Cache-Control': Type.String({ description: 'private, no-store' }),
    'Content-Length': Type.Integer()
  },
  content: anyContent
}

/** What a job was submitted with. */
export const inputRoutes: FastifyPluginAsyncTypebox<InputRouteNeeds> = (app, { readInput }) => {
  app.get('/api/v1/jobs/:jobId/input', {
    config: { scope: 'jobs:read', kind: 'download' },
    schema: {
      operationId: 'getSubmittedInput',
      summary: 'The input of a job',
      description,
      tags: ['Jobs'],
      params: JobParams,
      response: { 200: inputResponse, ...failureResponses(failureCodes, 'Problem') }
    }
  }, async (request, reply) => {
    const { jobId } = request.params
    requireJobId('v1', jobId)
    const { entry, input } = await readInput(jobId)
    const visible = requireVisible(entry, principalOf(request))
    if (input === null) throw new ServiceFailure('NOT_FOUND', 'No input is stored for this job.', toStatusFact(visible))
    reply.header('cache-control', 'private, no-store')
    if (input.kind === 'json') {
      setContentHeaders(reply, 'application/json', 'input.json')
      return reply.type('application/json; charset=utf-8').send(input.text)
    }
    const { contentType, sizeBytes, read } = input
    // The stream is opened first: a read that fails is sent as an error, without the headers of an input.
    const stream = await openBytes({ request, reply }, read, 0, sizeBytes)
    setContentHeaders(reply, contentType, 'input')
    return reply.header('content-length', sizeBytes).send(stream)
  })
  return Promise.resolve()
}
