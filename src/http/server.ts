import { randomBytes } from 'node:crypto'
import type { RequestListener, Server } from 'node:http'
import fastify, { type FastifyInstance, LogController, type RawRequestDefaultExpression } from 'fastify'
import type { Logger } from 'pino'
import type { Origins } from '../config/lists.ts'
import { createLogResponse, registerAccessLog } from './access-log.ts'
import { registerAccess } from './auth/access.ts'
import { registerAuth } from './auth/authenticate.ts'
import type { Principal } from './auth/principal.ts'
import type { TokenSettings } from './auth/verify-token.ts'
import { registerJsonBodies } from './bodies/json-body.ts'
import { createSerializerFactory } from './bodies/serialization.ts'
import { createValidatorFactory } from './bodies/validation.ts'
import { createAddCorsFields, registerCors } from './headers/cors.ts'
import { registerErrorHandler } from './error-handler.ts'
import { createAdmissionControl } from './limits/admission.ts'
import { registerBodyTimeouts } from './limits/body-timeouts.ts'
import {
  createWriteShedding, gateRequests, type OverloadedQueue, registerWriteShedding
} from './limits/load-shedding.ts'
import { rejectMalformed } from './limits/malformed-requests.ts'
import { createNodeServer } from './limits/node-server.ts'
import { createRateLimit } from './limits/rate-limit.ts'
import type { WaitingClients } from './limits/waiting-clients.ts'
import { namedSchemas } from './openapi/schemas.ts'
import { registerDocumentation } from './routes/documentation-routes.ts'
import { registerRoutes, type RouteNeeds } from './routes/routes.ts'
import { createRejectUnrouted } from './unrouted.ts'

// Longer than any URL that Node accepts, so that the router never responds before the hooks run.
const paramLengthMax = 64 * 1024

const requestIdExpression = /^[A-Za-z0-9._-]{1,64}$/

type LimitNeeds = {
  bodyBytesMax: number
  /** Requests of one subject; null: no limit. */
  rateLimitPerMinute: number | null
  waitingClients: WaitingClients
  /** How many writes wait to be committed. */
  writesWaiting: () => number
  /** ms of work that this thread has done so far. */
  busyMs: () => number
  /** In [0, 1). */
  random: () => number
  onOverload: (queue: OverloadedQueue) => void
  onRateLimited: (principal: Principal) => void
}

export type ServerNeeds = RouteNeeds & {
  limits: LimitNeeds
  /** `now` in ms since 1970. */
  auth: { tokens: TokenSettings, now: () => number }
  log: Logger
  /** ms of a clock that only goes forward. */
  monotonicNow: () => number
  /** The origins whose pages may read responses; null: none. */
  corsOrigins: Origins | null
  /** The server of the app that has taken the place of this one; null: none has. */
  successor: () => Server | null
}

// The router would respond to a path that cannot be decoded before any hook runs: such an id is one that names no job.
const toDecodable = (url: string): string => {
  if (!url.includes('%')) return url
  try {
    decodeURIComponent(url)
    return url
  } catch {
    return url.replaceAll('%', '%25')
  }
}

// A prefix of this server and a number: a random id for each request would cost a poll 3 %.
const createRequestIds = (): ((request: RawRequestDefaultExpression) => string) => {
  const prefix = randomBytes(12).toString('base64url')
  let count = 0
  return ({ headers: { 'x-request-id': own } }) =>
    typeof own === 'string' && requestIdExpression.test(own) ? own : `${prefix}-${++count}`
}

// Requests of its own port go to the app that has taken its place, if one has.
const createOwnServer = (handle: RequestListener, successor: ServerNeeds['successor']): Server => {
  const server = createNodeServer((request, response) => {
    const current = successor() ?? server
    if (current === server) handle(request, response)
    else current.emit('request', request, response)
  })
  return server
}

type FastifyNeeds = Pick<ServerNeeds, 'successor'> & Pick<LimitNeeds, 'bodyBytesMax'>

const createFastify = (
  { bodyBytesMax, successor }: FastifyNeeds, gate: (handle: RequestListener) => RequestListener
): FastifyInstance => fastify({
  serverFactory: handle => createOwnServer(gate(handle), successor),
  // Routes get their loggers from the access log.
  logController: new LogController({ disableRequestLogging: true }),
  requestIdHeader: false,
  genReqId: createRequestIds(),
  bodyLimit: bodyBytesMax,
  // While the process drains it still answers requests on open connections.
  return503OnClosing: false,
  forceCloseConnections: 'idle',
  routerOptions: { maxParamLength: paramLengthMax },
  schemaController: {
    compilersFactory: { buildSerializer: createSerializerFactory(), buildValidator: createValidatorFactory() }
  },
  clientErrorHandler: rejectMalformed,
  rewriteUrl: request => toDecodable(request.url ?? '/')
})

/** The HTTP edge, ready to listen: every route behind the same rules for tokens, bodies, failures and logs. */
export const createServer = async (needs: ServerNeeds): Promise<FastifyInstance> => {
  const { limits, auth, operations: { metrics, isDraining }, log, monotonicNow, corsOrigins } = needs
  const { rateLimitPerMinute: perMinute, onOverload: onRejected, onRateLimited: onLimited } = limits
  const admission = createAdmissionControl({ ...limits, monotonicNow })
  const addCorsFields = corsOrigins === null ? null : createAddCorsFields(corsOrigins)
  const gate = { admission, onRejected, isDraining, addCorsFields }
  const app = createFastify({ ...limits, ...needs }, handle => gateRequests(handle, gate))
  app.log = log
  const accessLog = { metrics, log, monotonicNow, isDraining }
  const logResponse = createLogResponse(accessLog)
  registerAccessLog(app, logResponse, accessLog)
  registerErrorHandler(app, { log, monotonicNow, schedule: needs.schedule })
  const rejectUnrouted = createRejectUnrouted(app, { paramLengthMax, hasOptions: corsOrigins !== null })
  // It adds a route, which gets the handlers that are set by then.
  if (corsOrigins !== null) await registerCors(app, corsOrigins)
  registerJsonBodies(app)
  registerBodyTimeouts(app)
  const rateLimit = perMinute === null ? null : createRateLimit({ perMinute, now: monotonicNow, onLimited })
  const authentication = await registerAuth(app, auth.tokens, auth.now)
  registerAccess(app, { authentication, rateLimit, rejectUnrouted })
  registerWriteShedding(app, createWriteShedding({ ...limits, onRejected, monotonicNow }))
  for (const schema of namedSchemas) app.addSchema(schema)
  registerDocumentation(app, needs.publicUrl)
  const { waitingClients } = limits
  await registerRoutes(app, needs, { waitingClients, logResponse, addCorsFields, now: auth.now })
  return app
}
