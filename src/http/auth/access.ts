import type { FastifyInstance, FastifyRequest } from 'fastify'
import { ServiceFailure } from '../../errors.ts'
import type { RateLimit } from '../limits/rate-limit.ts'
import { noSuchRoute, pathOf } from '../problem.ts'
import { type Authentication, requireScope, type Scope } from './authenticate.ts'
import type { Principal } from './principal.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The route needs no token. */
    public?: boolean
    /** The scope that a token needs for the route. */
    scope?: Scope
  }
  interface FastifyRequest {
    principal: Principal | null
  }
}

// Nothing under /api is revealed without a token, not even which routes exist.
const isPublic = ({ is404, originalUrl, routeOptions: { config, url = '' } }: FastifyRequest): boolean =>
  is404 ? !pathOf(originalUrl).startsWith('/api/') : config.public === true || url.startsWith('/docs')

/**
 * Sets the principal of each request that is not public, and rejects a request without a valid token, over the rate
 * limit or without the scope of its route; after that, one without a route. With callbacks: a poll whose token is
 * cached waits for nothing here, not even for a microtask.
 */
export const registerAccess = (
  app: FastifyInstance, { cached, verify }: Authentication, rateLimit: RateLimit | null
): void => {
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
    if (isPublic(request)) return done()
    const principal = cached(request)
    if (principal !== undefined) return admit(request, principal, done)
    verify(request).then(principal => { admit(request, principal, done) }, done)
  })
  app.addHook('onRequest', (request, _reply, done) => {
    // Before its body is read, whatever that is.
    if (request.is404) return done(noSuchRoute())
    done(request.headers['content-encoding'] === undefined
      ? undefined
      : new ServiceFailure('UNSUPPORTED_MEDIA_TYPE', 'Send the body without a Content-Encoding.'))
  })
}
