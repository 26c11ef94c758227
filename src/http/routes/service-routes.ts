import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { type Static, Type } from '@sinclair/typebox'
import type { FailureCode } from '../../errors.ts'
import { Nullable, StringEnum } from '../../job/schema-kinds.ts'
import { toEpochMs } from '../../job/time.ts'
import { failureResponses, jsonResponse } from '../openapi/responses.ts'
import { brokenRule } from '../problem.ts'

const Time = Type.String({ format: 'date-time', description: 'ISO 8601, UTC' })
const Count = Type.Integer({ minimum: 0 })
const Rate = Type.Number({ minimum: 0 })
const Mode = StringEnum(['on', 'warm', 'off'], {
  description: '`on`: used. `warm`: written, not yet read. `off`: every read goes to the store.'
})

const closed = { additionalProperties: false }

const Quantiles = Type.Object({
  count: Type.Integer({ minimum: 1 }), p50: Rate, p95: Rate, p99: Rate
}, { ...closed, description: 'Estimated from the buckets of the histogram that /metrics has; in seconds.' })

const Sample = Type.Object({
  at: Time,
  cacheMode: Mode,
  isStoreUp: Type.Boolean(),
  queue: Type.Array(Type.Object({
    type: Type.String({ description: 'As in the metrics: types that are not known are `other`.' }),
    queued: Count,
    running: Count,
    oldestSeconds: Nullable(Rate)
  }, closed), { description: 'Unfinished jobs in the database by type; empty while they cannot be counted.' }),
  claimsPerMinute: Rate,
  endsPerMinute: Rate,
  waitingClients: Type.Object({ longPolls: Count, streams: Count, feeds: Count }, closed),
  noticeSeconds: Nullable({
    ...Quantiles, description: 'From the end of a job to the first response of this process that showed it.'
  }),
  requestSeconds: Nullable({
    ...Quantiles, description: 'Of the requests to the API, without long polls, claims and downloads.'
  })
}, { ...closed, $id: 'ServiceSample' })

const Part = {
  kind: Type.String(),
  status: StringEnum(['ok', 'degraded', 'down']),
  since: Time,
  reason: Nullable(Type.String())
}

const ServiceState = Type.Object({
  observedAt: Time,
  process: Type.Object({
    id: Type.String({ description: 'Another one after each start.' }),
    startedAt: Time,
    isDraining: Type.Boolean(),
    workers: Count
  }, closed),
  store: Type.Object(Part, closed),
  cache: Type.Object({ ...Part, mode: Mode }, closed),
  cacheHistory: Type.Array(Type.Object({ at: Time, mode: Mode, reason: Nullable(Type.String()) }, closed), {
    description: 'The last 100 changes of the mode, oldest first.'
  }),
  redis: Nullable(Type.Object({
    kind: StringEnum(['redis', 'redis-sentinel', 'redis-cluster']), isReachable: Type.Boolean()
  }, { ...closed, description: 'null where none is configured.' })),
  current: Type.Unsafe<Static<typeof Sample>>(Type.Ref('ServiceSample')),
  sampleSeconds: Type.Integer({ minimum: 1, description: 'The time between two samples.' }),
  samples: Type.Array(Type.Unsafe<Static<typeof Sample>>(Type.Ref('ServiceSample')), {
    description: 'Those of the last hour, oldest first; what changed is counted from one to the next.'
  })
}, { ...closed, $id: 'ServiceState' })

/** The gauges of a process at one time. */
export type ServiceSample = Static<typeof Sample>
/** What an operator sees of a process. */
export type ServiceState = Static<typeof ServiceState>

export type ServiceRouteNeeds = {
  /** `after`: only samples of a later time (ms since 1970). */
  readService: (after: number) => Promise<ServiceState>
}

const at = '2026-03-01T09:00:00.120Z'
const sampleExample: ServiceSample = {
  at,
  cacheMode: 'on',
  isStoreUp: true,
  queue: [{ type: 'report', queued: 2, running: 1, oldestSeconds: 0.8 }],
  claimsPerMinute: 12,
  endsPerMinute: 12,
  waitingClients: { longPolls: 3, streams: 1, feeds: 0 },
  noticeSeconds: { count: 2, p50: 0.0025, p95: 0.00475, p99: 0.00495 },
  requestSeconds: { count: 80, p50: 0.0003, p95: 0.0009, p99: 0.002 }
}
const example: ServiceState = {
  observedAt: at,
  process: { id: 'r9s2m1kq', startedAt: '2026-03-01T08:00:00.000Z', isDraining: false, workers: 1 },
  store: { kind: 'sqlite', status: 'ok', since: '2026-03-01T08:00:00.000Z', reason: null },
  cache: { kind: 'redis', status: 'ok', since: '2026-03-01T08:00:00.400Z', reason: null, mode: 'on' },
  cacheHistory: [{ at: '2026-03-01T08:00:00.400Z', mode: 'on', reason: null }],
  redis: { kind: 'redis', isReachable: true },
  current: sampleExample,
  sampleSeconds: 10,
  samples: [sampleExample]
}

const description =
  `The gauges of the process that answers, and its samples of the last hour, which it keeps in memory. Nothing of a single
job is in it. A client that draws them asks for all once, and then for those \`since\` the last one it has.`

const failureCodes: readonly FailureCode[] = [
  'VALIDATION_FAILED', 'UNAUTHORIZED', 'FORBIDDEN', 'UNSUPPORTED_MEDIA_TYPE', 'INTERNAL', 'STORE_UNAVAILABLE'
]

const parseSince = (text: string | undefined): number => {
  if (text === undefined) return -Infinity
  const ms = toEpochMs(text)
  if (ms !== null) return ms
  throw brokenRule('since', 'format', 'must be an ISO 8601 date or date-time; encode + as %2B in a URL')
}

/** The state of the process, for operators. */
export const serviceRoutes: FastifyPluginAsyncTypebox<ServiceRouteNeeds> = (app, { readService }) => {
  app.addSchema(Sample)
  app.addSchema(ServiceState)

  app.get('/api/v1/service', {
    config: { scope: 'jobs:admin' },
    schema: {
      operationId: 'getService',
      summary: 'The state of the service',
      description,
      tags: ['Operations'],
      querystring: Type.Object({
        since: Type.Optional(Type.String({ description: 'Only samples of a later time, ISO 8601.' }))
      }),
      response: {
        200: jsonResponse('The state.', Type.Ref('ServiceState'), {
          headers: { 'Cache-Control': Type.String({ description: 'no-store' }) },
          examples: { working: { summary: 'At work', value: example } }
        }),
        ...failureResponses(failureCodes, 'Problem')
      }
    }
  }, async (request, reply) => {
    const state = await readService(parseSince(request.query.since))
    return reply.header('cache-control', 'no-store').send(state)
  })
  return Promise.resolve()
}
