import { KeyObject } from 'node:crypto'
import fastifyJwt, { type FastifyJWTOptions } from '@fastify/jwt'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { errors as joseErrors } from 'jose'
import { LRUCache } from 'lru-cache'
import type { TokenKey } from '../../config.ts'
import { ServiceFailure } from '../../errors.ts'
import { readBearerToken } from './bearer-token.ts'
import { createJwks, type KeyHeader, type JwksNeeds } from './jwks.ts'
import type { Principal } from './principal.ts'

/** What a token can open. */
export type Scope = 'jobs:read' | 'jobs:write' | 'jobs:work' | 'jobs:admin'

const scopesWithoutClaim: readonly string[] = ['jobs:read', 'jobs:write']

export type TokenSettings = { tokenKey: TokenKey, issuer: string | null, audience: string | null }

type Algorithms = NonNullable<NonNullable<FastifyJWTOptions['verify']>['algorithms']>

const rsaAlgorithms: Algorithms = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512']
const curveAlgorithms: Record<string, Algorithms> = {
  prime256v1: ['ES256'], secp384r1: ['ES384'], secp521r1: ['ES512']
}

// The key decides the algorithm: a token that names another one is rejected.
const algorithmsOf = (key: KeyObject): Algorithms => {
  switch (key.asymmetricKeyType) {
    case 'rsa': return rsaAlgorithms
    case 'ec': return curveAlgorithms[key.asymmetricKeyDetails?.namedCurve ?? ''] ?? []
    case 'ed25519': return ['EdDSA']
    default: return []
  }
}

const toPem = (key: KeyObject): string => key.export({ type: 'spki', format: 'pem' }).toString()

// The set could be read; the token names no key of it, or fits more than one.
const tokenFaults = [joseErrors.JWKSNoMatchingKey, joseErrors.JWKSMultipleMatchingKeys, joseErrors.JOSENotSupported]

// Keys of a set can be withdrawn: a token that one of them has verified is verified again after this time.
const cachedMsOfSets = 30_000
const tokensMax = 10_000
const charactersMax = 8 * 1024 * 1024

// RFC 7518, 3.3.
const rsaBitsMin = 2048

const requireStrong = (key: KeyObject): KeyObject => {
  const { modulusLength = rsaBitsMin } = key.asymmetricKeyDetails ?? {}
  if (modulusLength < rsaBitsMin) {
    throw new joseErrors.JOSENotSupported(`an RSA key of the set has ${modulusLength} bits, fewer than ${rsaBitsMin}`)
  }
  return key
}

const createKeyFetcher = (url: URL, needs: JwksNeeds) => {
  const findKey = createJwks(url, needs)
  return async (_request: FastifyRequest, token: object): Promise<string> => {
    const { header } = token as { header: KeyHeader }
    try {
      return toPem(requireStrong(KeyObject.from(await findKey(header))))
    } catch (error) {
      if (tokenFaults.some(fault => error instanceof fault)) throw error
      throw new ServiceFailure(
        'STORE_UNAVAILABLE', 'The keys that verify tokens cannot be fetched. Retry later.', { retryAfterSeconds: 1 },
        { cause: error }
      )
    }
  }
}

const toJwtOptions = ({ tokenKey, issuer, audience }: TokenSettings, needs: JwksNeeds): FastifyJWTOptions => {
  const claims = {
    extractToken: ({ headers: { authorization } }: FastifyRequest) => readBearerToken(authorization),
    // allowedIss and allowedAud alone would accept a token without the claim.
    requiredClaims: ['exp', 'sub', ...(issuer === null ? [] : ['iss']), ...(audience === null ? [] : ['aud'])],
    ...(issuer === null ? {} : { allowedIss: issuer }),
    ...(audience === null ? {} : { allowedAud: audience })
  }
  switch (tokenKey.kind) {
    case 'secret':
      return { secret: tokenKey.secret, verify: { algorithms: ['HS256'], ...claims } }
    case 'public-key':
      return { secret: { public: toPem(tokenKey.key) }, verify: { algorithms: algorithmsOf(tokenKey.key), ...claims } }
    case 'jwks':
      return {
        secret: createKeyFetcher(tokenKey.url, needs),
        // With its header, which names the key.
        decode: { complete: true },
        verify: { algorithms: [...rsaAlgorithms, 'ES256', 'ES384', 'ES512', 'EdDSA'], ...claims }
      }
  }
}

const unauthorized = (cause?: unknown) =>
  new ServiceFailure('UNAUTHORIZED', 'Send a valid token in the header "Authorization: Bearer …".', {}, { cause })

const isName = (value: unknown): value is string =>
  typeof value === 'string' && value !== '' && value.length <= 256 && value.isWellFormed()

const toPrincipal = (payload: unknown): Principal => {
  const { sub, tenant = sub, scope } = payload as Record<string, unknown>
  if (!isName(sub) || !isName(tenant)) throw unauthorized()
  if (scope !== undefined && typeof scope !== 'string') throw unauthorized()
  const granted = scope === undefined ? scopesWithoutClaim : scope.split(' ').filter(word => word !== '')
  return Object.freeze({ subject: sub, tenant, scopes: granted, allTenants: granted.includes('jobs:admin') })
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
    throw new ServiceFailure('FORBIDDEN', `This needs a token with the scope ${scope}.`)
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
  await app.register(fastifyJwt, toJwtOptions(settings, { now, onChange: () => { verified.clear() } }))
  return {
    cached: ({ headers: { authorization } }) => {
      if (authorization === undefined) return undefined
      const token = verified.get(authorization)
      return token !== undefined && now() < token.until ? token.principal : undefined
    },
    verify: async request => {
      let payload: { exp: number }
      try {
        payload = await request.jwtVerify()
      } catch (error) {
        if (error instanceof ServiceFailure) throw error
        throw unauthorized(error)
      }
      const principal = toPrincipal(payload)
      const at = now()
      const until = Math.min(Math.ceil(payload.exp * 1000), at + cachedMsMax)
      // RFC 7519, 4.1.4: a token is not valid in the very second that it names, which the verifier accepts.
      if (at >= until) throw unauthorized()
      verified.set(request.headers.authorization ?? '', { principal, until })
      return principal
    }
  }
}
