import { KeyObject } from 'node:crypto'
import fastifyJwt, { type FastifyJWTOptions } from '@fastify/jwt'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { errors as joseErrors } from 'jose'
import type { TokenKey } from '../../config.ts'
import { ServiceFailure } from '../../errors.ts'
import { readBearerToken } from './bearer-token.ts'
import { createJwks, type KeyHeader, type JwksNeeds } from './jwks.ts'
import type { Principal } from './principal.ts'
import { createTokenMemory } from './token-memory.ts'

/** What a token can open. */
export type Scope = 'jobs:read' | 'jobs:write' | 'jobs:work' | 'jobs:admin'

const scopesWithoutClaim: readonly string[] = ['jobs:read', 'jobs:write']

export type TokenSettings = { tokenKey: TokenKey, issuer: string | null, audience: string | null }

type Algorithms = NonNullable<NonNullable<FastifyJWTOptions['verify']>['algorithms']>

const rsaAlgorithms: Algorithms = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512']
const curveAlgorithms: Record<string, Algorithms> = { prime256v1: ['ES256'], secp384r1: ['ES384'], secp521r1: ['ES512'] }

// The algorithm comes from the key: a token that names another one is refused, whatever it is signed with.
const algorithmsOf = (key: KeyObject): Algorithms => {
  switch (key.asymmetricKeyType) {
    case 'rsa': return rsaAlgorithms
    case 'ec': return curveAlgorithms[key.asymmetricKeyDetails?.namedCurve ?? ''] ?? []
    case 'ed25519': return ['EdDSA']
    default: return []
  }
}

const toPem = (key: KeyObject): string => key.export({ type: 'spki', format: 'pem' }).toString()

// The set was read; it is the token that names no key of it, or more than one.
const tokenFaults = [joseErrors.JWKSNoMatchingKey, joseErrors.JWKSMultipleMatchingKeys, joseErrors.JOSENotSupported]

// Keys of a set can be withdrawn: what one of them has verified is looked at again after this time.
const rememberedMsOfSets = 30_000

// RFC 7518, 3.3.
const rsaBitsMin = 2048

const requireStrong = (key: KeyObject): KeyObject => {
  const { modulusLength = rsaBitsMin } = key.asymmetricKeyDetails ?? {}
  if (modulusLength < rsaBitsMin) throw new joseErrors.JOSENotSupported(`an RSA key of the set has ${modulusLength} bits, fewer than ${rsaBitsMin}`)
  return key
}

const createKeyFetcher = (needs: JwksNeeds) => {
  const findKey = createJwks(needs)
  return async (_request: FastifyRequest, token: object): Promise<string> => {
    const { header } = token as { header: KeyHeader }
    try {
      return toPem(requireStrong(KeyObject.from(await findKey(header))))
    } catch (error) {
      if (tokenFaults.some(fault => error instanceof fault)) throw error
      throw new ServiceFailure('STORE_UNAVAILABLE', 'The keys that verify tokens cannot be fetched right now.', { retryAfterSeconds: 1 }, { cause: error })
    }
  }
}

const toJwtOptions = ({ tokenKey, issuer, audience }: TokenSettings, needs: Omit<JwksNeeds, 'url'>): FastifyJWTOptions => {
  const claims = {
    extractToken: ({ headers: { authorization } }: FastifyRequest) => readBearerToken(authorization),
    // An allowed issuer or audience alone would let a token without the claim pass.
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
        secret: createKeyFetcher({ ...needs, url: tokenKey.url }),
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

/** Finds out who asks. */
export type Authentication = {
  /** Whoever sent this very header before, while that still counts. */
  cached: (request: FastifyRequest) => Principal | undefined
  /** Throws UNAUTHORIZED for anything but one valid token, STORE_UNAVAILABLE when its key cannot be had. */
  verify: (request: FastifyRequest) => Promise<Principal>
}

/** Throws FORBIDDEN unless the token has the scope. */
export const requireScope = (principal: Principal, scope: Scope): void => {
  if (!principal.scopes.includes(scope)) {
    throw new ServiceFailure('FORBIDDEN', `This needs a token with the scope ${scope}.`)
  }
}

/** Registers the verifier of tokens. `now` in ms since 1970. */
export const registerAuth = async (app: FastifyInstance, settings: TokenSettings, now: () => number): Promise<Authentication> => {
  const memory = createTokenMemory<Principal>({ now, keptMsMax: settings.tokenKey.kind === 'jwks' ? rememberedMsOfSets : Infinity })
  await app.register(fastifyJwt, toJwtOptions(settings, { now, onChange: memory.clear }))
  return {
    cached: ({ headers: { authorization } }) => authorization === undefined ? undefined : memory.find(authorization),
    verify: async request => {
      let payload: { exp: number }
      try {
        payload = await request.jwtVerify()
      } catch (error) {
        if (error instanceof ServiceFailure) throw error
        throw unauthorized(error)
      }
      const principal = toPrincipal(payload)
      // RFC 7519, 4.1.4: not on the time either, which the verifier still takes.
      if (now() >= payload.exp * 1000) throw unauthorized()
      memory.keep(request.headers.authorization ?? '', principal, payload.exp * 1000)
      return principal
    }
  }
}
