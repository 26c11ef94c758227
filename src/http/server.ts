import { randomUUID } from 'node:crypto'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import fastify, { type FastifyBaseLogger, type FastifyInstance, LogController } from 'fastify'
import { ServiceFailure } from '../errors.ts'
import { type Authenticate, type Principal, registerAuth, requireScope, type Scope, type TokenSettings } from './auth.ts'
import { commandRoutes, type CommandRouteNeeds } from './command-routes.ts'
import { listRoutes, type ListRouteNeeds } from './list-routes.ts'
import { registerOpenApi } from './openapi.ts'
import { operationsRoutes, type OperationsNeeds } from './operations-routes.ts'
import { type BodyHints, pathOf, sendFailure, toServiceFailure } from './problem.ts'
import { resultRoutes, type ResultRouteNeeds } from './results/result-routes.ts'
import { sanitizeRoutes, type SanitizeRouteNeeds } from './sanitize-routes.ts'
import { namedSchemas } from './schemas.ts'
import { statusRoutes } from './status-routes.ts'
import { submitRoutes, type SubmitRouteNeeds } from './submit-routes.ts'
import { answerUnreadable } from './unreadable.ts'
import { registerBodyDeadlines } from './body-deadlines.ts'
import { createValidatorCompiler, registerBodyParsers } from './validation.ts'
import { workerRoutes, type WorkerRouteNeeds } from './workers/worker-routes.ts'

declare module 'fastify' {
  interface FastifyContextConfig extends BodyHints {
    /** Answered without a token. */
    public?: boolean
    /** What the token must open. */
    scope?: Scope
    /** The body is taken as it comes, however long that takes: a Readable, see `takeRawBodies`. */
    isStreamed?: boolean
  }
  interface FastifyRequest {
    principal: Principal | null
  }
}

const headersTimeoutMs = 5000
const connectionsCheckMs = 1000
// Longer than any URL that Node lets in, so that the router never answers before the hooks do.
const paramLengthMax = 64 * 1024

const requestIdExpression = /^[A-Za-z0-9._-]{1,64}$/

type RouteNeeds = ResultRouteNeeds & SubmitRouteNeeds & CommandRouteNeeds & ListRouteNeeds & SanitizeRouteNeeds & WorkerRouteNeeds

export type ServerNeeds = RouteNeeds & OperationsNeeds & {
  log: FastifyBaseLogger
  bodyBytesMax: number
  tokens: TokenSettings
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

const toRequestId = (header: string | string[] | undefined): string =>
  typeof header === 'string' && requestIdExpression.test(header) ? header : randomUUID()

const createFastify = ({ log, bodyBytesMax }: ServerNeeds): FastifyInstance => fastify({
  loggerInstance: log,
  logController: new LogController({ disableRequestLogging: true }),
  requestIdHeader: false,
  genReqId: request => toRequestId(request.headers['x-request-id']),
  bodyLimit: bodyBytesMax,
  http: { headersTimeout: headersTimeoutMs, connectionsCheckingInterval: connectionsCheckMs },
  // Requests on connections that are still open are answered while the process drains.
  return503OnClosing: false,
  forceCloseConnections: 'idle',
  routerOptions: { maxParamLength: paramLengthMax },
  clientErrorHandler: answerUnreadable,
  rewriteUrl: request => toDecodable(request.url ?? '/')
})

const registerAccess = (app: FastifyInstance, authenticate: Authenticate): void => {
  app.decorateRequest('principal', null)
  app.addHook('onRequest', async request => {
    const { config, url = '' } = request.routeOptions
    // Nothing under /api is revealed without a token, not even which routes there are.
    const isPublic = request.is404 ? !pathOf(request).startsWith('/api/') : config.public === true || url.startsWith('/docs')
    if (isPublic) return
    request.principal = await authenticate(request)
    if (config.scope !== undefined) requireScope(request.principal, config.scope)
  })
  app.addHook('onRequest', (request, _reply, done) => {
    done(request.headers['content-encoding'] === undefined
      ? undefined
      : new ServiceFailure('UNSUPPORTED_MEDIA_TYPE', 'Send the body without a Content-Encoding.'))
  })
}

const registerFailures = (app: FastifyInstance): void => {
  app.setErrorHandler((error, request, reply) => {
    const failure = toServiceFailure(error, { bytesMax: request.routeOptions.bodyLimit, ...request.routeOptions.config })
    // What fails because the client has left is no failure of ours.
    if (failure.code === 'INTERNAL' && !request.raw.socket.destroyed) request.log.error({ err: failure.cause ?? failure }, 'the request failed')
    if (failure.code === 'STORE_UNAVAILABLE') request.log.warn({ err: failure.cause }, failure.message)
    // The client is told nothing that helps to guess; the operator is told why.
    if (failure.code === 'UNAUTHORIZED') request.log.info({ reason: (failure.cause as Error | undefined)?.message }, 'the token was refused')
    return sendFailure(request, reply, failure)
  })
  app.setNotFoundHandler((request, reply) =>
    sendFailure(request, reply, new ServiceFailure('NOT_FOUND', 'There is nothing at this path.')))
}

type JobParams = { jobId?: string, taskId?: string }

const registerAccounts = (app: FastifyInstance, { metrics, isDraining }: ServerNeeds): void => {
  app.addHook('onSend', (_request, reply, payload, done) => {
    // A keep-alive connection would hold a closing server open for more than a minute.
    if (isDraining()) reply.header('connection', 'close')
    done(null, payload)
  })
  // Only a body can break off; a listener for each read would cost every poll.
  app.addHook('onRoute', route => {
    if (['GET', 'HEAD'].includes(String(route.method))) return
    route.onRequestAbort = (request, done) => {
      request.log.info({ method: request.method, route: request.routeOptions.url ?? 'none' }, 'the client went away')
      done()
    }
  })
  app.addHook('onResponse', (request, reply, done) => {
    const { method, params } = request
    const route = request.routeOptions.url ?? 'none'
    const status = reply.statusCode
    metrics.requestSeconds.observe({ method, route, status }, reply.elapsedTime / 1000)
    const { jobId, taskId = jobId } = (params ?? {}) as JobParams
    const isRead = method === 'GET' || method === 'HEAD'
    const level = status >= 500 ? 'error' : isRead && status < 400 ? 'debug' : 'info'
    request.log[level]({ jobId: taskId?.slice(0, 128), method, route, status, ms: reply.elapsedTime }, 'answered')
    done()
  })
}

/** The HTTP edge, ready to listen: every route behind the same rules for tokens, bodies, failures and logs. */
export const createServer = async (needs: ServerNeeds): Promise<FastifyInstance> => {
  const app = createFastify(needs)
  app.setValidatorCompiler(createValidatorCompiler())
  registerBodyParsers(app)
  registerBodyDeadlines(app)
  registerFailures(app)
  registerAccess(app, await registerAuth(app, needs.tokens))
  registerAccounts(app, needs)
  for (const schema of namedSchemas) app.addSchema(schema)
  await registerOpenApi(app, needs.publicUrl)
  const typed = app.withTypeProvider<TypeBoxTypeProvider>()
  await typed.register(statusRoutes, needs)
  await typed.register(resultRoutes, needs)
  await typed.register(submitRoutes, needs)
  await typed.register(commandRoutes, needs)
  await typed.register(listRoutes, needs)
  await typed.register(sanitizeRoutes, needs)
  await typed.register(workerRoutes, needs)
  await typed.register(operationsRoutes, needs)
  return app
}
