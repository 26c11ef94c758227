import type { FastifyInstance, FastifyRequest } from 'fastify'
import { LRUCache } from 'lru-cache'
import { ServiceFailure } from '../../errors.ts'
import { readBearerToken } from './bearer-token.ts'
import type { Principal } from './principal.ts'
import { TokenRejected, unauthorized } from './rejected-token.ts'
import { createVerifyToken, type TokenSettings } from './verify-token.ts'

/** What a token can open. */
export type Scope = 'jobs:read' | 'jobs:write' | 'jobs:work' | 'jobs:admin'

const scopesWithoutClaim: readonly string[] = ['jobs:read', 'jobs:write']

// Keys of a set can be withdrawn: a token that one of them has verified is verified again after this time.
const cachedMsOfSets = 30_000
const tokensMax = 10_000
const charactersMax = 8 * 1024 * 1024

// Postgres stores no NUL.
const isName = (value: unknown): value is string =>
  typeof value === 'string' && value !== '' && value.length <= 256 && value.isWellFormed() && !value.includes('\0')

// The claim that scopes are in is `scope` (RFC 8693) as text, or in another form that identity providers use.
const toScopes = (payload: Record<string, unknown>): readonly string[] => {
  const name = payload.scope === undefined ? 'scp' : 'scope'
  const claim = payload[name]
  if (claim === undefined) return scopesWithoutClaim
  if (typeof claim === 'string') return claim.split(' ').filter(word => word !== '')
  if (Array.isArray(claim) && claim.every(word => typeof word === 'string')) return claim
  throw unauthorized(new TokenRejected(`claim ${name} not valid`))
}

const toPrincipal = (payload: object): Principal => {
  const claims = payload as Record<string, unknown>
  const { sub, tenant = sub } = claims
  if (!isName(sub)) throw unauthorized(new TokenRejected('claim sub not valid'))
  if (!isName(tenant)) throw unauthorized(new TokenRejected('claim tenant not valid'))
  const scopes = toScopes(claims)
  const expiresAt = Math.ceil(Number(claims.exp) * 1000)
  return Object.freeze({ subject: sub, tenant, scopes, allTenants: scopes.includes('jobs:admin'), expiresAt })
}

/** Authenticates requests by their bearer tokens. */
export type Authentication = {
  /** The principal of a header that was verified before, while that counts. */
  cached: (request: FastifyRequest) => Principal | undefined
  /** Throws UNAUTHORIZED for anything but one valid token, STORE_UNAVAILABLE when its key cannot be fetched. */
  verify: (request: FastifyRequest) => Promise<Principal>
}

/** Throws FORBIDDEN unless the token has the scope. */
export const requireScope = (principal: Principal, scope: Scope): void => {
  if (!principal.scopes.includes(scope)) {
    // RFC 6750, 3.1.
    const challenge = `Bearer error="insufficient_scope", scope="${scope}"`
    throw new ServiceFailure('FORBIDDEN', `This needs a token with the scope ${scope}.`, { challenge })
  }
}

// By the whole text of the header. A token is verified once, and not with every poll that it comes with. `until` in ms
// since 1970: the cache's own ttl would make half of all processes spend 50 % more on each poll.
const createVerifiedTokens = () => new LRUCache<string, { principal: Principal, until: number }>({
  max: tokensMax,
  maxSize: charactersMax,
  sizeCalculation: (_verified, header) => header.length
})

/** Registers the verifier of tokens. `now` in ms since 1970. */
export const registerAuth = async (
  app: FastifyInstance, settings: TokenSettings, now: () => number
): Promise<Authentication> => {
  const verified = createVerifiedTokens()
  const cachedMsMax = settings.tokenKey.kind === 'jwks' ? cachedMsOfSets : Infinity
  const verifyToken = await createVerifyToken(app, settings, { now, onChange: () => { verified.clear() } })
  return {
    cached: ({ headers: { authorization } }) => {
      if (authorization === undefined) return undefined
      const token = verified.get(authorization)
      return token !== undefined && now() < token.until ? token.principal : undefined
    },
    verify: async ({ headers: { authorization = '' } }) => {
      let payload: object
      try {
        const token = readBearerToken(authorization)
        if (token === undefined) throw unauthorized()
        payload = await verifyToken(token)
      } catch (error) {
        throw error instanceof ServiceFailure ? error : unauthorized(error)
      }
      const principal = toPrincipal(payload)
      const at = now()
      const until = Math.min(principal.expiresAt, at + cachedMsMax)
      // RFC 7519, 4.1.4: a token is not valid in the very second that it names, which the verifier accepts.
      if (at >= until) throw unauthorized(new TokenRejected('token expired'))
      verified.set(authorization, { principal, until })
      return principal
    }
  }
}
