import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import type { FailureCode } from '../../errors.ts'
import { type Attempt, type AttemptOutcome, attemptOutcomes, attemptsKeptMax } from '../../job/attempt.ts'
import { Nullable } from '../../job/schema-kinds.ts'
import { toIso, toIsoOrNull } from '../../job/time.ts'
import type { ReadAttempts } from '../../status/details/read-attempts.ts'
import { principalOf } from '../auth/principal.ts'
import { requireJobId } from '../job-id.ts'
import { JobParams } from '../openapi/params.ts'
import { failureResponses, jsonResponse } from '../openapi/responses.ts'
import { requireVisible } from '../status-access.ts'

export type AttemptRouteNeeds = { readAttempts: ReadAttempts }

const Time = Type.String({ format: 'date-time' })

const AttemptSchema = Type.Object({
  attempt: Type.Integer({ minimum: 1, description: 'A released run gives its number to the next one.' }),
  startedAt: Time,
  endedAt: Nullable(Time),
  outcome: Type.Unsafe<AttemptOutcome | null>({ type: 'string', enum: [...attemptOutcomes, null], nullable: true }),
  failure: Nullable(Type.Object({ code: Type.String(), message: Type.String() }, { additionalProperties: false }))
}, { additionalProperties: false })

const AttemptList = Type.Object({ items: Type.Array(AttemptSchema) }, { additionalProperties: false })

const example = {
  items: [
    {
      attempt: 1,
      startedAt: '2026-03-01T09:00:00.120Z',
      endedAt: '2026-03-01T09:00:02.480Z',
      outcome: 'failed',
      failure: { code: 'E_NET', message: 'The host does not answer.' }
    },
    { attempt: 2, startedAt: '2026-03-01T09:00:03.500Z', endedAt: null, outcome: null, failure: null }
  ]
}

const description =
  `The last ${attemptsKeptMax} runs of the job, oldest first, with the failure that each ended with. \`outcome\` is null
while a run goes on. A job that another engine wrote has none. They are erased with the job.`

const failureCodes: readonly FailureCode[] = [
  'UNAUTHORIZED', 'FORBIDDEN', 'JOB_NOT_FOUND', 'JOB_EXPIRED', 'UNSUPPORTED_MEDIA_TYPE', 'INTERNAL', 'STORE_UNAVAILABLE'
]

const toItem = ({ attempt, startedAt, endedAt, outcome, failure }: Attempt) =>
  ({ attempt, startedAt: toIso(startedAt), endedAt: toIsoOrNull(endedAt), outcome, failure })

/** The history of a job's runs. */
export const attemptRoutes: FastifyPluginAsyncTypebox<AttemptRouteNeeds> = (app, { readAttempts }) => {
  app.get('/api/v1/jobs/:jobId/attempts', {
    config: { scope: 'jobs:read' },
    schema: {
      operationId: 'listAttempts',
      summary: 'The attempts of a job',
      description,
      tags: ['Jobs'],
      params: JobParams,
      response: {
        200: jsonResponse('The attempts.', AttemptList, {
          headers: { 'Cache-Control': Type.String({ description: 'private, no-store' }) },
          examples: { retried: { summary: 'A second attempt', value: example } }
        }),
        ...failureResponses(failureCodes, 'Problem')
      }
    }
  }, async (request, reply) => {
    const { jobId } = request.params
    requireJobId('v1', jobId)
    const { entry, attempts } = await readAttempts(jobId)
    requireVisible(entry, principalOf(request))
    reply.header('cache-control', 'private, no-store')
    return { items: attempts.map(toItem) }
  })
  return Promise.resolve()
}
