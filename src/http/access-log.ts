import type { FastifyBaseLogger, FastifyInstance, FastifyRequest } from 'fastify'
import type { Logger } from 'pino'
import type { Metrics } from '../metrics.ts'
import { routeOf } from './route-of.ts'

/** Records one response in the metrics and the log. */
export type LogResponse = (request: FastifyRequest, status: number) => void

export type AccessLogNeeds = {
  metrics: Metrics
  log: Logger
  /** ms of a clock that only goes forward. */
  monotonicNow: () => number
  isDraining: () => boolean
}

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The route sends its response past Fastify and logs it by `LogResponse`; failures of it are logged here. */
    logsItself?: boolean
    /** Requests whose duration says nothing about the others; see requestKinds. */
    kind?: RequestKind
  }
  interface FastifyRequest {
    /** ms of a clock that only goes forward. */
    receivedAt: number
    /** When the response began; 0: not yet. */
    answeredAt: number
    /** The response is held back until something happens, as the client wants. */
    isLongPoll: boolean
    /** A rejection like others that the log has already. */
    isLogThrottled: boolean
  }
}

/**
 * Kinds of requests, for the histogram: a claim writes, a download reads bytes, a long poll waits, and quantiles over
 * all of them would say nothing about a poll.
 */
export type RequestKind = 'request' | 'claim' | 'download' | 'long-poll'

type JobParams = { jobId?: string, taskId?: string }

// 429 and 503 (rate limit, overload, no store, not ready) meet many requests for one cause, which has a line of its
// own.
const levelOf = ({ method, isLogThrottled }: FastifyRequest, status: number): 'error' | 'debug' | 'info' => {
  if (status === 429 || status === 503 || isLogThrottled) return 'debug'
  if (status >= 500) return 'error'
  return ['GET', 'HEAD', 'OPTIONS'].includes(method) && status < 400 ? 'debug' : 'info'
}

/** The logger of one request: each line has the request's id. */
export const logOf = (log: Logger, { id }: FastifyRequest): FastifyBaseLogger => log.child({ reqId: id })

export const createLogResponse = ({ metrics, log, monotonicNow }: AccessLogNeeds): LogResponse => (request, status) => {
  const { method } = request
  const { url: route = 'none', config } = routeOf(request)
  const ms = (request.answeredAt || monotonicNow()) - request.receivedAt
  const kind = request.isLongPoll ? 'long-poll' : config.kind ?? 'request'
  metrics.requestSeconds.observe({ method, route, status, kind }, ms / 1000)
  const level = levelOf(request, status)
  if (!log.isLevelEnabled(level)) return
  const { jobId, taskId = jobId } = (request.params ?? {}) as JobParams
  const shownMs = Math.round(ms * 100) / 100
  logOf(log, request)[level]({ jobId: taskId?.slice(0, 128), method, route, status, ms: shownMs }, 'answered')
}

/**
 * Records metrics and one log line for each response. Fastify's request logging costs 14 % of a poll (a child logger
 * and two listeners), so it is off. Routes marked `logsItself` get neither: they log directly, and seldom need a
 * logger.
 */
export const registerAccessLog = (
  app: FastifyInstance, logResponse: LogResponse, { log, monotonicNow, isDraining }: AccessLogNeeds
): void => {
  app.decorateRequest('receivedAt', 0)
  app.decorateRequest('answeredAt', 0)
  app.decorateRequest('isLongPoll', false)
  app.decorateRequest('isLogThrottled', false)
  app.decorateRequest('knownRoute', null)
  app.addHook('onRequest', (request, reply, done) => {
    request.receivedAt = monotonicNow()
    if (routeOf(request).config.logsItself !== true) reply.log = request.log = logOf(log, request)
    done()
  })
  app.addHook('onSend', (request, reply, payload, done) => {
    // Not when it ends: the bytes of a download leave as slowly as its client reads, and a rejected upload is read on.
    request.answeredAt = monotonicNow()
    // A keep-alive connection would hold a closing server open for more than a minute.
    if (isDraining()) reply.header('connection', 'close')
    if (request.is404 || routeOf(request).config.logsItself === true) logResponse(request, reply.statusCode)
    done(null, payload)
  })
  app.addHook('onRoute', route => {
    if (route.config?.logsItself !== true) {
      route.onResponse = (request, reply, done) => {
        logResponse(request, reply.statusCode)
        done()
      }
    }
    // Only a request with a body can break off; on reads the listener would cost every poll.
    if (['GET', 'HEAD'].includes(String(route.method))) return
    route.onRequestAbort = (request, done) => {
      request.log.info({ method: request.method, route: request.routeOptions.url ?? 'none' }, 'the client went away')
      done()
    }
  })
}
