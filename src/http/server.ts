import { randomBytes } from 'node:crypto'
import type { RequestListener, Server } from 'node:http'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import fastify, { type FastifyInstance, LogController, type RawRequestDefaultExpression } from 'fastify'
import type { Logger } from 'pino'
import type { Origins } from '../config/lists.ts'
import type { StatusEntry } from '../job/status-entry.ts'
import type { InputReader } from '../job/input.ts'
import type { AwaitMany } from '../status/await-many.ts'
import type { ChangeFeed } from '../status/feed/change-feed.ts'
import type { ReadAttempts } from '../status/read-attempts.ts'
import type { ReadInput } from '../status/read-input.ts'
import type { ReadCallbacks } from '../status/read-callbacks.ts'
import type { ReadResult } from '../status/read-result.ts'
import type { ListStatuses, ReadMany } from '../status/read-status.ts'
import type { CancelJob, EraseJob } from '../write/cancel-and-erase.ts'
import type { RedeliverCallback } from '../write/callbacks/redeliver-callback.ts'
import type { LongPollClaim } from '../write/long-poll-claim.ts'
import type { RunJob } from '../write/run-job.ts'
import type { StoreInput } from '../write/store-input.ts'
import type { SubmitJob } from '../write/submit-job.ts'
import type { Uploads } from '../write/uploads.ts'
import { createLogResponse, type LogResponse, registerAccessLog } from './access-log.ts'
import { registerAccess } from './auth/access.ts'
import { registerAuth } from './auth/authenticate.ts'
import type { Principal } from './auth/principal.ts'
import type { TokenSettings } from './auth/verify-token.ts'
import { registerJsonBodies } from './bodies/json-body.ts'
import { createSerializerFactory } from './bodies/serialization.ts'
import { createValidatorCompiler } from './bodies/validation.ts'
import { type AddCorsFields, createAddCorsFields, registerCors } from './headers/cors.ts'
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
import { pageRoutes } from './page/page-routes.ts'
import { createSchedulePings } from './pings.ts'
import { attemptRoutes } from './routes/attempt-routes.ts'
import { callbackRoutes } from './routes/callback-routes.ts'
import { cancelRoutes } from './routes/cancel-routes.ts'
import { registerDocumentation } from './routes/documentation-routes.ts'
import { eventRoutes } from './routes/event-routes.ts'
import { feedRoutes } from './routes/feed/feed-routes.ts'
import type { ByIdsNeeds } from './routes/lists/list-by-ids.ts'
import { listRoutes } from './routes/lists/list-routes.ts'
import { inputRoutes } from './routes/input-routes.ts'
import { operationsRoutes, type OperationsNeeds } from './routes/operations-routes.ts'
import { resultRoutes } from './routes/results/result-routes.ts'
import { serviceRoutes, type ServiceRouteNeeds } from './routes/service-routes.ts'
import { statusRoutes } from './routes/status-routes.ts'
import { sanitizeAsyncRoutes } from './routes/submissions/sanitize-async-routes.ts'
import { sanitizeRoutes, type SanitizeRouteNeeds } from './routes/submissions/sanitize-routes.ts'
import { submitRoutes, type SubmitRouteNeeds } from './routes/submissions/submit-routes.ts'
import { workerRoutes } from './routes/workers/claim-routes.ts'
import type { StatusAccess } from './status-access.ts'
import type { FollowStatus } from './status-events.ts'
import { createRejectUnrouted } from './unrouted.ts'

// Longer than any URL that Node accepts, so that the router never responds before the hooks run.
const paramLengthMax = 64 * 1024

const requestIdExpression = /^[A-Za-z0-9._-]{1,64}$/

/** What routes read. */
type StatusNeeds = {
  /** Of the database; part of every event's id. */
  incarnation: string,
  statusAccess: StatusAccess,
  followStatus: FollowStatus,
  /** Called with each status that a client gets. */
  onShown: (entry: StatusEntry) => void,
  readMany: ReadMany,
  awaitMany: AwaitMany,
  listStatuses: ListStatuses,
  changesCursor: ByIdsNeeds['changesCursor'],
  tagPrefix: ByIdsNeeds['tagPrefix'],
  feed: ChangeFeed,
  readResult: ReadResult,
  readAttempts: ReadAttempts,
  readCallbacks: ReadCallbacks,
  readInput: ReadInput,
  inputs: InputReader
}

/** What routes change, and the work that they do for a client at once. */
type CommandNeeds = {
  submitJob: SubmitJob
  storeInput: StoreInput
  cancelJob: CancelJob
  eraseJob: EraseJob
  redeliverCallback: RedeliverCallback
  longPollClaim: LongPollClaim
  runJob: RunJob
  uploads: Uploads
  sanitizeNow: SanitizeRouteNeeds['sanitizeNow']
}

/** Which submissions the service accepts. */
type SubmissionRules = {
  /** The only types accepted; null: any. */
  jobTypes: readonly string[] | null
  knownTypes: SubmitRouteNeeds['knownTypes']
  /** The longest time that a submission may ask its result to be kept. */
  retentionSecondsMax: number
  callbacks: SubmitRouteNeeds['callbacks']
}

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

export type ServerNeeds = {
  status: StatusNeeds
  commands: CommandNeeds
  submissions: SubmissionRules
  limits: LimitNeeds
  /** `now` in ms since 1970. */
  auth: { tokens: TokenSettings, now: () => number }
  operations: OperationsNeeds & ServiceRouteNeeds
  log: Logger
  /** ms of a clock that only goes forward. */
  monotonicNow: () => number
  /** Calls back after some ms unless cancelled. */
  schedule: (work: () => void, ms: number) => { cancel: () => void }
  /** The origin that absolute links begin with; null: that of the request. */
  publicUrl: string | null
  /** The origins whose pages may read responses; null: none. */
  corsOrigins: Origins | null
  /** How long the lease of a run lasts unless the worker asks for another time. */
  leaseMs: number
  /** What prints a token for a local service; null: the page does not name one. */
  tokenCommand: string | null
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
  schemaController: { compilersFactory: { buildSerializer: createSerializerFactory() } },
  clientErrorHandler: rejectMalformed,
  rewriteUrl: request => toDecodable(request.url ?? '/')
})

type RouteParts = { logResponse: LogResponse, addCorsFields: AddCorsFields | null }

const registerRoutes = async (
  app: FastifyInstance, needs: ServerNeeds, { logResponse, addCorsFields }: RouteParts
): Promise<void> => {
  const { status: { statusAccess, onShown, ...reads }, commands, submissions, operations, publicUrl, leaseMs } = needs
  const { isDraining } = operations
  const waits = { waitingClients: needs.limits.waitingClients, onShown, isDraining, logResponse, addCorsFields, now: needs.auth.now }
  const { submitJob, storeInput, cancelJob, eraseJob, redeliverCallback } = commands
  const { longPollClaim, runJob, uploads, sanitizeNow } = commands
  const { jobTypes, callbacks } = submissions
  const typed = app.withTypeProvider<TypeBoxTypeProvider>()
  const schedulePings = createSchedulePings(needs.schedule)
  await typed.register(statusRoutes, { statusAccess, ...waits })
  const { followStatus, incarnation } = reads
  await typed.register(eventRoutes, { followStatus, incarnation, schedulePings, ...waits })
  await typed.register(resultRoutes, { statusAccess, readResult: reads.readResult, ...waits })
  await typed.register(submitRoutes, { statusAccess, submitJob, ...submissions, publicUrl, ...waits })
  await typed.register(cancelRoutes, { statusAccess, cancelJob, eraseJob, ...waits })
  await typed.register(attemptRoutes, { readAttempts: reads.readAttempts })
  await typed.register(inputRoutes, { readInput: reads.readInput })
  await typed.register(callbackRoutes, { readCallbacks: reads.readCallbacks, redeliverCallback })
  await typed.register(listRoutes, { ...reads, ...waits })
  await typed.register(feedRoutes, { feed: reads.feed, schedule: needs.schedule, schedulePings, ...waits })
  await typed.register(sanitizeRoutes, { sanitizeNow })
  await typed.register(sanitizeAsyncRoutes, {
    statusAccess, submitJob, storeInput, jobTypes, callbacks, publicUrl, ...waits
  })
  await typed.register(workerRoutes, {
    statusAccess, longPollClaim, runJob, uploads, inputs: reads.inputs, leaseMs, publicUrl
  })
  await typed.register(operationsRoutes, operations)
  await typed.register(serviceRoutes, operations)
  await app.register(pageRoutes, { tokenCommand: needs.tokenCommand })
}

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
  app.setValidatorCompiler(createValidatorCompiler())
  registerJsonBodies(app)
  registerBodyTimeouts(app)
  const rateLimit = perMinute === null ? null : createRateLimit({ perMinute, now: monotonicNow, onLimited })
  const authentication = await registerAuth(app, auth.tokens, auth.now)
  registerAccess(app, { authentication, rateLimit, rejectUnrouted })
  registerWriteShedding(app, createWriteShedding({ ...limits, onRejected, monotonicNow }))
  for (const schema of namedSchemas) app.addSchema(schema)
  registerDocumentation(app, needs.publicUrl)
  await registerRoutes(app, needs, { logResponse, addCorsFields })
  return app
}
