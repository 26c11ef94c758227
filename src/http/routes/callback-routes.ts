import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import { type FailureCode, ServiceFailure } from '../../errors.ts'
import { type Callback, callbackStates, triesMax } from '../../job/callbacks/callback.ts'
import { toShownUrl } from '../../job/callbacks/callback-url.ts'
import { Nullable, StringEnum } from '../../job/schema-kinds.ts'
import { toIsoOrNull } from '../../job/time.ts'
import type { ReadCallbacks } from '../../status/details/read-callbacks.ts'
import type { RedeliverCallback } from '../../write/callbacks/redeliver-callback.ts'
import { maySee, mayChange, principalOf } from '../auth/principal.ts'
import { takeEmptyBodiesOnly } from '../bodies/empty-body.ts'
import { requireJobId } from '../job-id.ts'
import { CallbackParams, JobParams } from '../openapi/params.ts'
import { exampleCallbackId } from '../openapi/examples.ts'
import { emptyResponse, failureResponses, jsonResponse } from '../openapi/responses.ts'
import { requireVisible, toStatusFact } from '../status-access.ts'

export type CallbackRouteNeeds = { readCallbacks: ReadCallbacks, redeliverCallback: RedeliverCallback }

const Time = Type.String({ format: 'date-time' })

const CallbackSchema = Type.Object({
  id: Type.String({ description: 'The webhook-id of every try.' }),
  url: Type.String({ description: 'Origin and path: the query may hold a secret.' }),
  state: StringEnum(callbackStates),
  tries: Type.Integer({ minimum: 0, description: 'Tries that have ended.' }),
  lastStatus: Nullable(Type.Integer({ description: 'The HTTP status of the last try; null if there was no response.' })),
  lastError: Nullable(Type.String({ description: 'Why the last try failed.' })),
  lastTriedAt: Nullable(Time),
  nextTryAt: Nullable(Time)
}, { additionalProperties: false })

const CallbackList = Type.Object({ items: Type.Array(CallbackSchema) }, { additionalProperties: false })

const example = {
  items: [{
    id: exampleCallbackId,
    url: 'https://n8n.example.org/webhook-waiting/231',
    state: 'pending',
    tries: 1,
    lastStatus: 409,
    lastError: 'answered 409',
    lastTriedAt: '2026-03-01T09:00:02.700Z',
    nextTryAt: '2026-03-01T09:00:03.680Z'
  }]
}

const description =
  `\`waiting\`: for the end of the job. \`pending\`: a try is due or under way; after a failure there is another one, up to
${triesMax} within some 33 hours. \`delivered\`: the receiver answered 2xx. \`failed\`: it answered 410, or none of the tries
succeeded. They are erased with the job.`

const redeliverDescription = `Makes one try now, whatever the state is, at most once a minute. A try of a callback that is
pending counts as its next one; after the last try, it is a single one. Send no body, or \`{}\`.`

const failureCodes: readonly FailureCode[] = [
  'UNAUTHORIZED', 'FORBIDDEN', 'JOB_NOT_FOUND', 'JOB_EXPIRED', 'UNSUPPORTED_MEDIA_TYPE', 'INTERNAL', 'STORE_UNAVAILABLE'
]
const redeliverCodes: readonly FailureCode[] =
  [...failureCodes, 'NOT_FOUND', 'JOB_ACTIVE', 'RATE_LIMITED', 'PAYLOAD_TOO_LARGE']

const toItem = ({ id, url, state, tries, lastStatus, lastError, lastTriedAt, nextTryAt }: Callback) => ({
  id,
  url: toShownUrl(url),
  state,
  tries,
  lastStatus,
  lastError,
  lastTriedAt: toIsoOrNull(lastTriedAt),
  nextTryAt: toIsoOrNull(nextTryAt)
})

const redeliverRoute: FastifyPluginAsyncTypebox<CallbackRouteNeeds> = (app, { redeliverCallback }) => {
  takeEmptyBodiesOnly(app)
  app.post('/api/v1/jobs/:jobId/callbacks/:callbackId/redeliver', {
    config: { scope: 'jobs:write' },
    schema: {
      operationId: 'redeliverCallback',
      summary: 'Call a callback URL again',
      description: redeliverDescription,
      tags: ['Jobs'],
      params: CallbackParams,
      response: {
        202: emptyResponse('A try is due now, or under way.', { 'Cache-Control': Type.String({ description: 'no-store' }) }),
        ...failureResponses(redeliverCodes, 'Problem')
      }
    }
  }, async (request, reply) => {
    const principal = principalOf(request)
    const { jobId, callbackId } = request.params
    requireJobId('v1', jobId)
    const { outcome, entry } = await redeliverCallback(jobId, callbackId, mayChange(principal))
    requireVisible(entry, principal)
    switch (outcome.kind) {
      case 'absent': throw new ServiceFailure('NOT_FOUND', 'The job has no such callback.')
      case 'waiting': throw new ServiceFailure(
        'JOB_ACTIVE', 'The job has not ended: there is nothing to deliver yet.', toStatusFact(entry))
      case 'too-soon': throw new ServiceFailure('RATE_LIMITED', 'A callback is redelivered at most once a minute.', {
        retryAfterSeconds: Math.ceil(outcome.retryAfterMs / 1000)
      })
      case 'asked':
        request.log.info({ jobId, callbackId }, 'callback to be redelivered')
        return reply.code(202).header('cache-control', 'no-store').send()
    }
  })
  return Promise.resolve()
}

/** The callbacks of a job. */
export const callbackRoutes: FastifyPluginAsyncTypebox<CallbackRouteNeeds> = async (app, needs) => {
  app.get('/api/v1/jobs/:jobId/callbacks', {
    config: { scope: 'jobs:write' },
    schema: {
      operationId: 'listCallbacks',
      summary: 'The callbacks of a job',
      description,
      tags: ['Jobs'],
      params: JobParams,
      response: {
        200: jsonResponse('The callbacks, in the order in which they were added.', CallbackList, {
          headers: { 'Cache-Control': Type.String({ description: 'private, no-store' }) },
          examples: { pending: { summary: 'A receiver that is not ready yet', value: example } }
        }),
        ...failureResponses(failureCodes, 'Problem')
      }
    }
  }, async (request, reply) => {
    const { jobId } = request.params
    requireJobId('v1', jobId)
    const principal = principalOf(request)
    const { entry, callbacks } = await needs.readCallbacks(jobId)
    requireVisible(entry, principal)
    reply.header('cache-control', 'private, no-store')
    // Another program may have given the job to another tenant: the URLs are still those of the one that named them.
    return { items: callbacks.filter(({ tenant }) => maySee(principal, tenant)).map(toItem) }
  })
  await app.register(redeliverRoute, needs)
}
