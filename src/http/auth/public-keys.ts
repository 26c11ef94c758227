import type { KeyObject } from 'node:crypto'
import { type CryptoKey, errors, type JWSHeaderParameters, jwtVerify, type JWTVerifyOptions } from 'jose'
import { ServiceFailure } from '../../errors.ts'
import { createJwks, type JwksNeeds } from './jwks.ts'

/*
 * Tokens that are signed with a private key, verified by jose. Loaded where the configuration asks for it only.
 */

const rsaAlgorithms = ['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512']
// RFC 9864 names by its curve what RFC 8037 called EdDSA.
const edwardsAlgorithms = ['EdDSA', 'Ed25519']
const curveAlgorithms: Record<string, string[]> = {
  prime256v1: ['ES256'], secp384r1: ['ES384'], secp521r1: ['ES512']
}

// The key decides the algorithm: a token that names another one is rejected.
const algorithmsOf = (key: KeyObject): string[] => {
  switch (key.asymmetricKeyType) {
    case 'rsa': return rsaAlgorithms
    case 'ec': return curveAlgorithms[key.asymmetricKeyDetails?.namedCurve ?? ''] ?? []
    case 'ed25519': return edwardsAlgorithms
    default: return []
  }
}

/** `requiredClaims`: those that a token must have. */
type ClaimRules = { issuer: string | null, audience: string | null, requiredClaims: string[] }

type VerifyToken = (token: string) => Promise<object>

const toJoseOptions = (
  { issuer, audience, requiredClaims }: ClaimRules, algorithms: string[], now: () => number
): JWTVerifyOptions => ({
  algorithms,
  requiredClaims,
  currentDate: new Date(now()),
  ...(issuer === null ? {} : { issuer }),
  ...(audience === null ? {} : { audience })
})

// RFC 7518, 3.3.
const rsaBitsMin = 2048

const requireStrong = (key: CryptoKey): CryptoKey => {
  const { modulusLength = rsaBitsMin } = key.algorithm as { modulusLength?: number }
  if (modulusLength < rsaBitsMin) {
    throw new errors.JOSENotSupported(`an RSA key of the set has ${modulusLength} bits, fewer than ${rsaBitsMin}`)
  }
  return key
}

// The set could be read; the token names no key of it, or fits more than one.
const tokenFaults = [errors.JWKSNoMatchingKey, errors.JWKSMultipleMatchingKeys, errors.JOSENotSupported]

const toKeyFailure = (error: unknown): unknown => tokenFaults.some(fault => error instanceof fault)
  ? error
  : new ServiceFailure(
    'STORE_UNAVAILABLE', 'The keys that verify tokens cannot be fetched. Retry later.', { retryAfterSeconds: 1 },
    { cause: error }
  )

const isWrongSignature = (error: unknown) => error instanceof errors.JWSSignatureVerificationFailed
// Another key may verify the token: this one does not, or is not accepted at all.
const isOfKey = (error: unknown) => isWrongSignature(error) || error instanceof errors.JOSENotSupported

/**
 * The verifier for a set of keys.
 *
 * A token without a `kid`, or with one that several keys have, is verified with each key that it may be signed with. A
 * signature that no key verifies may be that of a newer key under an old `kid`: then the set is read again.
 */
export const createKeySetVerifier = (url: URL, rules: ClaimRules, needs: JwksNeeds): VerifyToken => {
  const keySet = createJwks(url, needs)
  const algorithms = [...rsaAlgorithms, ...Object.values(curveAlgorithms).flat(), ...edwardsAlgorithms]
  const verifyWith = async (token: string, key: CryptoKey): Promise<object> =>
    (await jwtVerify(token, requireStrong(key), toJoseOptions(rules, algorithms, needs.now))).payload
  const verifyWithOneOf = async (token: string, keys: AsyncIterable<CryptoKey>): Promise<object> => {
    for await (const key of keys) {
      try {
        return await verifyWith(token, key)
      } catch (error) {
        if (!isOfKey(error)) throw error
      }
    }
    throw new errors.JWSSignatureVerificationFailed()
  }
  const findKey = async (header: JWSHeaderParameters): Promise<CryptoKey> => {
    try {
      return requireStrong(await keySet.find(header))
    } catch (error) {
      throw toKeyFailure(error)
    }
  }
  const verifyOnce = async (token: string): Promise<object> => {
    try {
      return (await jwtVerify(token, findKey, toJoseOptions(rules, algorithms, needs.now))).payload
    } catch (error) {
      if (error instanceof errors.JWKSMultipleMatchingKeys) return await verifyWithOneOf(token, error)
      throw error
    }
  }
  return async token => {
    try {
      return await verifyOnce(token)
    } catch (error) {
      if (!isWrongSignature(error) || !await keySet.readAgain()) throw error
      return await verifyOnce(token)
    }
  }
}

/** The verifier for one public key. */
export const createKeyVerifier = (
  key: KeyObject, rules: ClaimRules, { now }: Pick<JwksNeeds, 'now'>
): VerifyToken => {
  const algorithms = algorithmsOf(key)
  return async token => (await jwtVerify(token, key, toJoseOptions(rules, algorithms, now))).payload
}
