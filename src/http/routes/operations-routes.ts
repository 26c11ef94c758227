import { createHash, timingSafeEqual } from 'node:crypto'
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox'
import { Type } from '@sinclair/typebox'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { Nullable, StringEnum } from '../../job/schema-kinds.ts'
import { toIso } from '../../job/time.ts'
import type { Metrics } from '../../metrics.ts'
import type { PartHealth } from '../../status/health.ts'
import { TokenRejected, unauthorized } from '../auth/rejected-token.ts'
import { failureResponses, jsonResponse } from '../openapi/responses.ts'

// Every route rejects requests with a Content-Encoding.
const rejected = failureResponses(['UNSUPPORTED_MEDIA_TYPE'], 'Problem')

export type OperationsNeeds = {
  metrics: Metrics
  /** The bearer token that /metrics needs; null: none. */
  metricsToken: string | null
  /** Brings those up to date that are only read for a scrape. */
  refreshMetrics: () => Promise<void>
  checkStore: () => Promise<PartHealth>
  checkCache: () => PartHealth
  isDraining: () => boolean
}

const Part = Type.Object({
  kind: Type.String(),
  status: StringEnum(['ok', 'degraded', 'down']),
  since: Type.String({ format: 'date-time' }),
  reason: Nullable(Type.String()),
  mode: Type.Optional(StringEnum(['on', 'warm', 'off']))
}, { $id: 'PartHealth' })

const Liveness = Type.Object({ status: StringEnum(['ok']) }, { additionalProperties: false })

const Readiness = Type.Object({
  status: StringEnum(['ready', 'degraded', 'unavailable', 'draining']),
  store: Type.Unsafe<object>(Type.Ref('PartHealth')),
  cache: Type.Unsafe<object>(Type.Ref('PartHealth'))
}, { $id: 'Readiness', additionalProperties: false })

const livenessExamples = { alive: { summary: 'Alive', value: { status: 'ok' } } }

const metricsExample = '# TYPE jobs_submitted_total counter\njobs_submitted_total 41\n'

const since = '2026-03-01T09:00:00.120Z'
const goodStore = { kind: 'sqlite', status: 'ok', since, reason: null }
const goodCache = { kind: 'redis', status: 'ok', since, reason: null, mode: 'on' }
const badStore = { ...goodStore, status: 'down', reason: 'SQLITE_CANTOPEN' }
const badCache = { ...goodCache, status: 'degraded', reason: 'ECONNREFUSED', mode: 'off' }

const ready = { summary: 'Ready', value: { status: 'ready', store: goodStore, cache: goodCache } }
const degraded = { summary: 'Without Redis', value: { status: 'degraded', store: goodStore, cache: badCache } }
const unavailable = { summary: 'Without store', value: { status: 'unavailable', store: badStore, cache: goodCache } }
const draining = { summary: 'Shutting down', value: { status: 'draining', store: goodStore, cache: goodCache } }

const toPart = ({ kind, ok, since, reason, mode }: PartHealth, unless: 'degraded' | 'down') =>
  ({ kind, status: ok ? 'ok' : unless, since: toIso(since), reason, mode })

const sha256 = (text: string): Buffer => createHash('sha256').update(text).digest()

// As hashes, so that the time of the comparison says nothing about the token, nor about its length.
const requireMetricsToken = (token: string | null) => {
  const expected = token === null ? null : sha256(token)
  return ({ headers: { authorization } }: FastifyRequest, _reply: FastifyReply, done: (failure?: Error) => void) => {
    if (expected === null) return done()
    const sent = /^Bearer (.+)$/i.exec(authorization ?? '')?.[1]
    if (sent !== undefined && timingSafeEqual(sha256(sent), expected)) return done()
    done(unauthorized(sent === undefined ? undefined : new TokenRejected('not the METRICS_TOKEN')))
  }
}

/** Liveness, readiness and metrics for operators. They show no job; metrics may need a token of their own. */
export const operationsRoutes: FastifyPluginAsyncTypebox<OperationsNeeds> = (app, needs) => {
  const { metrics, metricsToken, refreshMetrics, checkStore, checkCache, isDraining } = needs
  app.addSchema(Part)
  app.addSchema(Readiness)

  app.get('/livez', {
    config: { public: true },
    schema: {
      operationId: 'getLiveness',
      summary: 'Whether the process is alive',
      description: 'For liveness probes. It reads nothing.',
      tags: ['Operations'],
      security: [],
      response: { 200: jsonResponse('The process is alive.', Liveness, { examples: livenessExamples }), ...rejected }
    }
  }, (_request, reply) => reply.send({ status: 'ok' }))

  app.get('/readyz', {
    config: { public: true },
    schema: {
      operationId: 'getReadiness',
      summary: 'Whether the service can answer requests',
      description: 'For readiness probes: the state of the store and the cache, and since when.',
      tags: ['Operations'],
      security: [],
      response: {
        200: jsonResponse('Ready; `degraded` while the store serves all reads.', Type.Ref('Readiness'), {
          examples: { ready, degraded }
        }),
        503: jsonResponse('The store cannot be reached, or the process is shutting down.', Type.Ref('Readiness'), {
          examples: { unavailable, draining }
        }),
        ...rejected
      }
    }
  }, async (_request, reply) => {
    const store = await checkStore()
    const cache = checkCache()
    const status = isDraining() ? 'draining' : !store.ok ? 'unavailable' : cache.ok ? 'ready' : 'degraded'
    reply.code(status === 'ready' || status === 'degraded' ? 200 : 503)
    return reply.send({ status, store: toPart(store, 'down'), cache: toPart(cache, 'degraded') })
  })

  app.get('/metrics', {
    config: { public: true },
    onRequest: requireMetricsToken(metricsToken),
    schema: {
      operationId: 'getMetrics',
      summary: 'Metrics',
      description: 'In the Prometheus text format. Where METRICS_TOKEN is set, it is the bearer token of this route.',
      tags: ['Operations'],
      security: [],
      response: {
        200: { description: 'The metrics.', content: { 'text/plain': { schema: Type.String(), example: metricsExample } } },
        ...failureResponses(['UNAUTHORIZED', 'UNSUPPORTED_MEDIA_TYPE'], 'Problem', false)
      }
    }
  }, async (_request, reply) => {
    await refreshMetrics()
    return reply.type(metrics.registry.contentType).send(await metrics.registry.metrics())
  })
  return Promise.resolve()
}
