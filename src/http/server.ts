import { randomBytes } from 'node:crypto'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import fastify, { type FastifyInstance, type FastifyRequest, LogController, type RawRequestDefaultExpression } from 'fastify'
import type { Logger } from 'pino'
import { type FailureCode, reasonOf, ServiceFailure } from '../errors.ts'
import type { InputReader } from '../job/input.ts'
import { createLogThrottle } from '../log-throttle.ts'
import type { ListStatuses } from '../status/list-jobs.ts'
import type { ReadResult } from '../status/read-result.ts'
import type { ReadMany } from '../status/read-status.ts'
import type { CancelJob, EraseJob } from '../write/cancel-and-erase.ts'
import type { LongPollClaim } from '../write/long-poll-claim.ts'
import type { RunJob } from '../write/run-job.ts'
import type { StoreInput } from '../write/store-input.ts'
import type { SubmitJob } from '../write/submit-job.ts'
import type { Uploads } from '../write/uploads.ts'
import { createLogResponse, logOf, type LogResponse, registerAccessLog } from './access-log.ts'
import { type Authentication, registerAuth, requireScope, type Scope, type TokenSettings } from './auth/authenticate.ts'
import type { Principal } from './auth/principal.ts'
import { registerJsonBodies } from './bodies/json-body.ts'
import { createValidatorCompiler } from './bodies/validation.ts'
import { registerBodyTimeouts } from './limits/body-timeouts.ts'
import { createLoadShedding, gateRequests, registerLoadShedding } from './limits/load-shedding.ts'
import { rejectMalformed, rejectAmbiguous } from './limits/malformed-requests.ts'
import { createRateLimit, type RateLimit } from './limits/rate-limit.ts'
import { registerOpenApi } from './openapi/document.ts'
import { namedSchemas } from './openapi/schemas.ts'
import { type BodyHints, noSuchRoute, pathOf, sendFailure, toClientFailure } from './problem.ts'
import { cancelRoutes } from './routes/cancel-routes.ts'
import { listRoutes } from './routes/list-routes.ts'
import { operationsRoutes, type OperationsNeeds } from './routes/operations-routes.ts'
import { resultRoutes } from './routes/results/result-routes.ts'
import { sanitizeRoutes, type SanitizeRouteNeeds } from './routes/sanitize-routes.ts'
import { statusRoutes } from './routes/status-routes.ts'
import { submitRoutes, type SubmitRouteNeeds } from './routes/submit-routes.ts'
import { workerRoutes } from './routes/workers/claim-routes.ts'
import type { StatusAccess } from './status-access.ts'

declare module 'fastify' {
  interface FastifyContextConfig extends BodyHints {
    /** Answered without a token. */
    public?: boolean
    /** What the token must open. */
    scope?: Scope
    /** Answers in one go and logs it itself; failures are logged in any case. */
    logsItself?: boolean
    /** The body is taken as it comes, however long that takes: a Readable, see `takeRawBodies`. */
    isStreamed?: boolean
    /** Though its method says so. */
    writesNothing?: boolean
  }
  interface FastifyRequest {
    principal: Principal | null
    /** ms of a clock that only goes forward. */
    receivedAt: number
    /** It tells of what many requests meet: the log has that once, not with each of them. */
    isLogThrottled: boolean
  }
}

const headersTimeoutMs = 5000
const connectionsCheckMs = 1000
// Longer than any URL that Node lets in, so that the router never answers before the hooks do.
const paramLengthMax = 64 * 1024

const requestIdExpression = /^[A-Za-z0-9._-]{1,64}$/

/** What routes read. */
type StatusNeeds = { statusAccess: StatusAccess, readMany: ReadMany, listStatuses: ListStatuses, readResult: ReadResult, inputs: InputReader }

/** What routes change, and the work that they do for a client at once. */
type CommandNeeds = {
  submitJob: SubmitJob
  storeInput: StoreInput
  cancelJob: CancelJob
  eraseJob: EraseJob
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
}

type LimitNeeds = {
  bodyBytesMax: number
  /** Requests of one subject; null: no limit. */
  rateLimitPerMinute: number | null
  /** How many writes wait to be committed. */
  writesWaiting: () => number
  /** ms of work that this thread has done so far. */
  busyMs: () => number
  /** In [0, 1). */
  random: () => number
}

export type ServerNeeds = {
  status: StatusNeeds
  commands: CommandNeeds
  submissions: SubmissionRules
  limits: LimitNeeds
  /** `now` in ms since 1970. */
  auth: { tokens: TokenSettings, now: () => number }
  operations: OperationsNeeds
  log: Logger
  /** ms of a clock that only goes forward. */
  monotonicNow: () => number
  /** The origin that absolute links begin with; null: that of the request. */
  publicUrl: string | null
  /** How long the lease of a run lasts unless the worker asks for another time. */
  leaseMs: number
}

// A path that cannot be decoded would be answered by the router, before any hook: its id is just one that names no job.
const toDecodable = (url: string): string => {
  if (!url.includes('%')) return url
  try {
    decodeURIComponent(url)
    return url
  } catch {
    return url.replaceAll('%', '%25')
  }
}

// A number after what tells this server from others: a random id for each request would cost a poll 3 %.
const createRequestIds = (): ((request: RawRequestDefaultExpression) => string) => {
  const prefix = randomBytes(12).toString('base64url')
  let count = 0
  return ({ headers: { 'x-request-id': own } }) =>
    typeof own === 'string' && requestIdExpression.test(own) ? own : `${prefix}-${++count}`
}

const createFastify = ({ bodyBytesMax }: LimitNeeds): FastifyInstance => fastify({
  // Routes get their loggers where they are accounted for.
  logController: new LogController({ disableRequestLogging: true }),
  requestIdHeader: false,
  genReqId: createRequestIds(),
  bodyLimit: bodyBytesMax,
  // Node would answer a request without a host, and yet hand on the next one behind it.
  http: { headersTimeout: headersTimeoutMs, connectionsCheckingInterval: connectionsCheckMs, requireHostHeader: false },
  // Requests on connections that are still open are answered while the process drains.
  return503OnClosing: false,
  forceCloseConnections: 'idle',
  routerOptions: { maxParamLength: paramLengthMax },
  clientErrorHandler: rejectMalformed,
  rewriteUrl: request => toDecodable(request.url ?? '/')
})

// With callbacks: a poll whose token is known waits for nothing here, not even for a microtask.
const registerAccess = (app: FastifyInstance, { cached, verify }: Authentication, rateLimit: RateLimit | null): void => {
  const admit = (request: FastifyRequest, principal: Principal, done: (failure?: Error) => void) => {
    request.principal = principal
    const { scope } = request.routeOptions.config
    try {
      rateLimit?.draw(principal)
      if (scope !== undefined) requireScope(principal, scope)
    } catch (failure) {
      return done(failure as ServiceFailure)
    }
    done()
  }
  app.decorateRequest('principal', null)
  app.addHook('onRequest', (request, _reply, done) => {
    const { config, url = '' } = request.routeOptions
    // Nothing under /api is revealed without a token, not even which routes there are.
    const isPublic = request.is404 ? !pathOf(request.originalUrl).startsWith('/api/') : config.public === true || url.startsWith('/docs')
    if (isPublic) return done()
    const principal = cached(request)
    if (principal !== undefined) return admit(request, principal, done)
    verify(request).then(principal => { admit(request, principal, done) }, done)
  })
  app.addHook('onRequest', (request, _reply, done) => {
    // Whatever body it has is not looked at.
    if (request.is404) return done(noSuchRoute())
    done(request.headers['content-encoding'] === undefined
      ? undefined
      : new ServiceFailure('UNSUPPORTED_MEDIA_TYPE', 'Send the body without a Content-Encoding.'))
  })
}

const sharedCodes: readonly FailureCode[] = ['RATE_LIMITED', 'OVERLOADED', 'STORE_UNAVAILABLE']

const registerFailures = (app: FastifyInstance, { log, monotonicNow }: ServerNeeds): void => {
  const shouldLog = createLogThrottle(monotonicNow)
  const logUnavailable = ({ message, cause }: ServiceFailure) => {
    if (shouldLog(`${message} ${reasonOf(cause)}`)) log.warn({ err: cause }, message)
  }
  app.setErrorHandler((error, request, reply) => {
    const failure = toClientFailure(error, { bytesMax: request.routeOptions.bodyLimit, ...request.routeOptions.config })
    request.isLogThrottled = sharedCodes.includes(failure.code)
    // What fails because the client has left is no failure of ours.
    if (failure.code === 'INTERNAL' && !request.raw.socket.destroyed) logOf(log, request).error({ err: failure.cause ?? failure }, 'the request failed')
    if (failure.code === 'STORE_UNAVAILABLE') logUnavailable(failure)
    // The client is told nothing that helps to guess; the operator is told why.
    if (failure.code === 'UNAUTHORIZED') logOf(log, request).info({ reason: (failure.cause as Error | undefined)?.message }, 'the token was refused')
    return sendFailure(request, reply, failure)
  })
  app.setNotFoundHandler(() => { throw noSuchRoute() })
}

const toRateLimit = ({ limits: { rateLimitPerMinute }, monotonicNow, log }: ServerNeeds): RateLimit | null => rateLimitPerMinute === null
  ? null
  : createRateLimit({
    perMinute: rateLimitPerMinute,
    now: monotonicNow,
    onLimited: ({ tenant, subject }) => { log.warn({ tenant, subject }, 'a subject asks too often: what exceeds RATE_LIMIT_PER_MINUTE is refused') }
  })

const registerRoutes = async (app: FastifyInstance, needs: ServerNeeds, logResponse: LogResponse): Promise<void> => {
  const { status: { statusAccess, ...reads }, commands, submissions, operations, publicUrl, leaseMs } = needs
  const { submitJob, storeInput, cancelJob, eraseJob, longPollClaim, runJob, uploads, sanitizeNow } = commands
  const { jobTypes, knownTypes, retentionSecondsMax } = submissions
  const typed = app.withTypeProvider<TypeBoxTypeProvider>()
  await typed.register(statusRoutes, { statusAccess, logResponse, isDraining: operations.isDraining })
  await typed.register(resultRoutes, { statusAccess, readResult: reads.readResult })
  await typed.register(submitRoutes, { submitJob, knownTypes, retentionSecondsMax, jobTypes, publicUrl })
  await typed.register(cancelRoutes, { statusAccess, cancelJob, eraseJob })
  await typed.register(listRoutes, { readMany: reads.readMany, listStatuses: reads.listStatuses })
  await typed.register(sanitizeRoutes, { submitJob, storeInput, sanitizeNow, jobTypes, publicUrl })
  await typed.register(workerRoutes, { statusAccess, longPollClaim, runJob, uploads, inputs: reads.inputs, leaseMs, publicUrl })
  await typed.register(operationsRoutes, operations)
}

/** The HTTP edge, ready to listen: every route behind the same rules for tokens, bodies, failures and logs. */
export const createServer = async (needs: ServerNeeds): Promise<FastifyInstance> => {
  const { limits, auth, operations: { metrics, isDraining }, log, monotonicNow } = needs
  const overload = createLoadShedding({ ...limits, metrics, log, monotonicNow })
  const app = createFastify(limits)
  gateRequests(app.server, overload, isDraining)
  app.log = log
  rejectAmbiguous(app)
  const accessLog = { metrics, log, monotonicNow, isDraining }
  const logResponse = createLogResponse(accessLog)
  registerAccessLog(app, logResponse, accessLog)
  app.setValidatorCompiler(createValidatorCompiler())
  registerJsonBodies(app)
  registerBodyTimeouts(app)
  registerFailures(app, needs)
  registerAccess(app, await registerAuth(app, auth.tokens, auth.now), toRateLimit(needs))
  registerLoadShedding(app, overload)
  for (const schema of namedSchemas) app.addSchema(schema)
  await registerOpenApi(app, needs.publicUrl)
  await registerRoutes(app, needs, logResponse)
  return app
}
