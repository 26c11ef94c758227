import type { FastifyInstance } from 'fastify'
import type { Logger } from 'pino'
import { reasonOf, type ServiceFailure } from '../errors.ts'
import { createLogThrottle } from '../log-throttle.ts'
import { logOf } from './access-log.ts'
import { noSuchRoute, sendFailure, toClientFailure } from './problem.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The message for a body that is too large. */
    tooLarge?: string
    /** The media types that the route accepts, as its message names them. */
    accepts?: string
  }
}

/** Sends every failure in the shape of its path, and logs the cause of those that only the operator may know. */
export const registerErrorHandler = (
  app: FastifyInstance, { log, monotonicNow }: { log: Logger, monotonicNow: () => number }
): void => {
  const shouldLog = createLogThrottle(monotonicNow)
  const logUnavailable = ({ message, cause }: ServiceFailure) => {
    if (shouldLog(`${message} ${reasonOf(cause)}`)) log.warn({ err: cause }, message)
  }
  app.setErrorHandler((error, request, reply) => {
    const failure = toClientFailure(error, { bytesMax: request.routeOptions.bodyLimit, ...request.routeOptions.config })
    // A failure because the client has left is not one of the service.
    if (failure.code === 'INTERNAL' && !request.raw.socket.destroyed) {
      logOf(log, request).error({ err: failure.cause ?? failure }, 'the request failed')
    }
    if (failure.code === 'STORE_UNAVAILABLE') logUnavailable(failure)
    // The same reason that the client gets.
    if (failure.code === 'UNAUTHORIZED') {
      logOf(log, request).info({ reason: (failure.cause as Error | undefined)?.message }, 'token rejected')
    }
    return sendFailure(request, reply, failure)
  })
  app.setNotFoundHandler(() => { throw noSuchRoute() })
}
