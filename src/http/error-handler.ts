import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Logger } from 'pino'
import { catalogue, reasonOf, ServiceFailure } from '../errors.ts'
import { createCountedThrottle, createLogThrottle } from '../log-throttle.ts'
import type { Schedule } from '../schedule.ts'
import { logOf } from './access-log.ts'
import { noSuchRoute, sendFailure, toClientFailure } from './problem.ts'
import { routeOf } from './route-of.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The message for a body that is too large. */
    tooLarge?: string
    /** The media types that the route accepts, as its message names them. */
    accepts?: string
  }
}

export type ErrorHandlerNeeds = {
  log: Logger
  /** ms of a clock that only goes forward. */
  monotonicNow: () => number
  schedule: Schedule
}

const rejections: readonly number[] = [401, 403, 404]

// The same reason that the client gets.
const rejectionReason = ({ code, cause }: ServiceFailure): string =>
  code === 'UNAUTHORIZED' ? (cause as Error | undefined)?.message ?? 'no token' : code

/**
 * Marks rejections that are not logged one by one: a client that goes on asking for what it does not get would fill the
 * log, and the line costs more than the response. The first one of each reason and subject in a minute is logged.
 */
const createRejectionThrottle = (app: FastifyInstance, { log, monotonicNow, schedule }: ErrorHandlerNeeds) => {
  const { shouldLog, close } = createCountedThrottle({
    now: monotonicNow,
    schedule,
    onRest: counts => { log.info({ counts }, 'more requests were rejected for reasons that the log has already') }
  })
  app.addHook('onClose', (_app, done) => {
    close()
    done()
  })
  return (request: FastifyRequest, failure: ServiceFailure): void => {
    if (!rejections.includes(catalogue[failure.code].status)) return
    const { tenant = '', subject = '' } = request.principal ?? {}
    request.isLogThrottled = !shouldLog(rejectionReason(failure), `${tenant} ${subject}`)
  }
}

const toFailure = (error: unknown, request: FastifyRequest): ServiceFailure => {
  if (error instanceof ServiceFailure) return error
  const { bodyLimit: bytesMax, config } = routeOf(request)
  return toClientFailure(error, { bytesMax, ...config })
}

/** Sends every failure in the shape of its path, and logs the cause of those that only the operator may know. */
export const registerErrorHandler = (app: FastifyInstance, needs: ErrorHandlerNeeds): void => {
  const { log, monotonicNow } = needs
  const throttle = createRejectionThrottle(app, needs)
  const shouldLog = createLogThrottle(monotonicNow)
  const logUnavailable = ({ message, cause }: ServiceFailure) => {
    if (shouldLog(`${message} ${reasonOf(cause)}`)) log.warn({ err: cause }, message)
  }
  const logRejectedToken = (request: FastifyRequest, { cause }: ServiceFailure) => {
    const level = request.isLogThrottled ? 'debug' : 'info'
    if (!log.isLevelEnabled(level)) return
    logOf(log, request)[level]({ reason: (cause as Error | undefined)?.message }, 'token rejected')
  }
  app.setErrorHandler((error, request, reply) => {
    const failure = toFailure(error, request)
    throttle(request, failure)
    // A failure because the client has left is not one of the service.
    if (failure.code === 'INTERNAL' && !request.raw.socket.destroyed) {
      logOf(log, request).error({ err: failure.cause ?? failure }, 'the request failed')
    }
    if (failure.code === 'STORE_UNAVAILABLE') logUnavailable(failure)
    if (failure.code === 'UNAUTHORIZED') logRejectedToken(request, failure)
    return sendFailure(request, reply, failure)
  })
  app.setNotFoundHandler(() => { throw noSuchRoute() })
}
