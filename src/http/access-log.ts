import type { FastifyBaseLogger, FastifyInstance, FastifyRequest } from 'fastify'
import type { Logger } from 'pino'
import type { Metrics } from '../metrics.ts'

/** Counts and logs one answer, by its status code. */
export type LogResponse = (request: FastifyRequest, status: number) => void

export type AccessLogNeeds = {
  metrics: Metrics
  log: Logger
  /** ms of a clock that only goes forward. */
  monotonicNow: () => number
  isDraining: () => boolean
}

type JobParams = { jobId?: string, taskId?: string }

const levelOf = ({ method, isLogThrottled }: FastifyRequest, status: number): 'error' | 'debug' | 'info' => {
  if (isLogThrottled) return 'debug'
  if (status >= 500) return 'error'
  return (method === 'GET' || method === 'HEAD') && status < 400 ? 'debug' : 'info'
}

/** The log of one request, every line with the request's id. */
export const logOf = (log: Logger, { id }: FastifyRequest): FastifyBaseLogger => log.child({ reqId: id })

export const createLogResponse = ({ metrics, log, monotonicNow }: AccessLogNeeds): LogResponse => (request, status) => {
  const { method } = request
  const route = request.routeOptions.url ?? 'none'
  const ms = monotonicNow() - request.receivedAt
  metrics.requestSeconds.observe({ method, route, status }, ms / 1000)
  const level = levelOf(request, status)
  if (!log.isLevelEnabled(level)) return
  const { jobId, taskId = jobId } = (request.params ?? {}) as JobParams
  logOf(log, request)[level]({ jobId: taskId?.slice(0, 128), method, route, status, ms }, 'answered')
}

/**
 * Has every answer accounted for. Fastify's own logger would cost each request a child of it and two listeners, a
 * seventh of a poll; so routes get theirs here, but for those that account for themselves: these answer in one go, and
 * hardly ever have anything to log.
 */
export const registerAccessLog = (app: FastifyInstance, logResponse: LogResponse, { log, monotonicNow, isDraining }: AccessLogNeeds): void => {
  app.decorateRequest('receivedAt', 0)
  app.decorateRequest('isToldOnce', false)
  app.addHook('onRequest', (request, reply, done) => {
    request.receivedAt = monotonicNow()
    if (request.routeOptions.config.logsItself !== true) reply.log = request.log = logOf(log, request)
    done()
  })
  app.addHook('onSend', (request, reply, payload, done) => {
    // A keep-alive connection would hold a closing server open for more than a minute.
    if (isDraining()) reply.header('connection', 'close')
    if (request.is404 || request.routeOptions.config.logsItself === true) logResponse(request, reply.statusCode)
    done(null, payload)
  })
  app.addHook('onRoute', route => {
    if (route.config?.logsItself !== true) {
      route.onResponse = (request, reply, done) => {
        logResponse(request, reply.statusCode)
        done()
      }
    }
    // Only a body can break off; a listener for each read would cost every poll.
    if (['GET', 'HEAD'].includes(String(route.method))) return
    route.onRequestAbort = (request, done) => {
      request.log.info({ method: request.method, route: request.routeOptions.url ?? 'none' }, 'the client went away')
      done()
    }
  })
}
