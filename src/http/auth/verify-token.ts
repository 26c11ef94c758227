import type { FastifyInstance } from 'fastify'
import type { FastifyJWTOptions } from '@fastify/jwt'
import type { TokenKey } from '../../config/token-key.ts'
import type { JwksNeeds } from './jwks.ts'

export type TokenSettings = { tokenKey: TokenKey, issuer: string | null, audience: string | null }

/**
 * Verifies the signature of a token, then its times, issuer and audience, and returns its claims. Throws an error of
 * the verifier if the token is not valid, and STORE_UNAVAILABLE if its key cannot be fetched.
 */
export type VerifyToken = (token: string) => Promise<object>

const requiredClaims = ({ issuer, audience }: TokenSettings): string[] =>
  ['exp', 'sub', ...(issuer === null ? [] : ['iss']), ...(audience === null ? [] : ['aud'])]

const registerSecretVerifier = async (
  app: FastifyInstance, secret: string, settings: TokenSettings
): Promise<VerifyToken> => {
  const { default: fastifyJwt } = await import('@fastify/jwt')
  const { issuer, audience } = settings
  const verify: FastifyJWTOptions['verify'] = {
    algorithms: ['HS256'],
    // allowedIss and allowedAud alone would accept a token without the claim.
    requiredClaims: requiredClaims(settings),
    ...(issuer === null ? {} : { allowedIss: issuer }),
    ...(audience === null ? {} : { allowedAud: audience })
  }
  await app.register(fastifyJwt, { secret, verify })
  return async token => app.jwt.verify<object>(token)
}

/**
 * The verifier for the configured key, which loads the library of its kind alone. @fastify/jwt knows neither several
 * keys for one token nor `Ed25519`.
 */
export const createVerifyToken = async (
  app: FastifyInstance, settings: TokenSettings, needs: JwksNeeds
): Promise<VerifyToken> => {
  const { tokenKey } = settings
  if (tokenKey.kind === 'secret') return await registerSecretVerifier(app, tokenKey.secret, settings)
  const { createKeySetVerifier, createKeyVerifier } = await import('./public-keys.ts')
  const claims = { ...settings, requiredClaims: requiredClaims(settings) }
  return tokenKey.kind === 'jwks'
    ? createKeySetVerifier(tokenKey.url, claims, needs)
    : createKeyVerifier(tokenKey.key, claims, needs)
}
