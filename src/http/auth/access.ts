import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { ServiceFailure } from '../../errors.ts'
import type { RateLimit } from '../limits/rate-limit.ts'
import { pathOf } from '../problem.ts'
import { routeOf } from '../route-of.ts'
import { isUnrouted, type RejectUnrouted } from '../unrouted.ts'
import { findUnsupportedHeader } from '../headers/unsupported-headers.ts'
import { type Authentication, requireScope, type Scope } from './authenticate.ts'
import type { Principal } from './principal.ts'
import { tokenMissing } from './rejected-token.ts'

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
const isPublic = (request: FastifyRequest): boolean => {
  const { config, url = '' } = routeOf(request)
  if (isUnrouted(request)) return !pathOf(request.originalUrl).startsWith('/api/')
  return config.public === true || url.startsWith('/docs')
}

export type AccessNeeds = {
  authentication: Authentication
  /** null: no limit. */
  rateLimit: RateLimit | null
  rejectUnrouted: RejectUnrouted
}

/**
 * Sets the principal of each request that is not public, and rejects a request without a valid token, over the rate
 * limit or without the scope of its route; after that, one without a route. With callbacks: a poll whose token is
 * cached waits for nothing here, not even for a microtask.
 */
export const registerAccess = (
  app: FastifyInstance, { authentication: { cached, verify }, rateLimit, rejectUnrouted }: AccessNeeds
): void => {
  const admit = (request: FastifyRequest, principal: Principal, done: (failure?: Error) => void) => {
    request.principal = principal
    const { scope } = routeOf(request).config
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
    if (request.headers.authorization === undefined) return done(tokenMissing)
    const principal = cached(request)
    if (principal !== undefined) return admit(request, principal, done)
    verify(request).then(principal => { admit(request, principal, done) }, done)
  })
  app.addHook('onRequest', (request, reply, done) => {
    // Before its body is read, whatever that is.
    if (isUnrouted(request)) return rejectUnrouted(request, reply, done)
    done(findUnsupportedHeader(request))
  })
}
