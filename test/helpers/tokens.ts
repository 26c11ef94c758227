import { createSigner } from 'fast-jwt'

export const secret = 'a-secret-that-only-the-tests-know-0123456789'

/** A key that signs callbacks in tests. */
export const webhookSecret = `whsec_${Buffer.alloc(32, 9).toString('base64')}`

export type TokenClaims = {
  sub?: string, tenant?: string, scope?: string, expiresIn?: number, [claim: string]: unknown
}

/** A token that a service under test accepts; every claim can be overridden. */
export const token = ({ expiresIn = 60_000, ...claims }: TokenClaims = {}): string =>
  createSigner({ key: secret, algorithm: 'HS256', expiresIn })({ sub: 'tester', ...claims })

export const bearer = (claims?: TokenClaims): {
  authorization: string
} => ({ authorization: `Bearer ${token(claims)}` })
