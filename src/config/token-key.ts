import { createPublicKey, type KeyObject, randomBytes } from 'node:crypto'
import { readOrCreateFile } from './local-file.ts'
import { ConfigError, type Problems } from './problems.ts'
import { parseKeySetUrl } from './urls.ts'

/** What verifies tokens. The algorithm follows from the key, never from the token. */
export type TokenKey =
  | { kind: 'secret', secret: string }
  | { kind: 'public-key', key: KeyObject }
  | { kind: 'jwks', url: URL }

const secretBytesMin = 32

/** The file with the key of a local service, outside production. */
export const localSecretPath = 'data/jwt-secret'

/** A new key for tokens. */
export const makeTokenSecret = (): string => randomBytes(48).toString('base64url')

/** Returns the key of a local service. It is created once, readable by its owner alone. */
export const readOrCreateSecret = (path: string): string => {
  const secret = readOrCreateFile(path, makeTokenSecret)
  if (Buffer.byteLength(secret) < secretBytesMin) {
    throw new ConfigError([
      `JWT_SECRET: is unset, and ${path} holds fewer than ${secretBytesMin} bytes: remove that file, or set JWT_SECRET`
    ])
  }
  return secret
}

const signingKeys = ['rsa', 'prime256v1', 'secp384r1', 'secp521r1', 'ed25519']

const parsePublicKey = (pem: string, problems: Problems): TokenKey | null => {
  try {
    if (pem.includes('PRIVATE KEY')) throw new Error('private')
    const key = createPublicKey(pem.replaceAll('\\n', '\n'))
    const bits = key.asymmetricKeyDetails?.modulusLength
    const kind = key.asymmetricKeyDetails?.namedCurve ?? key.asymmetricKeyType ?? ''
    if (!signingKeys.includes(kind)) {
      problems.push('JWT_PUBLIC_KEY: must be a key of RSA, P-256, P-384, P-521 or Ed25519')
    }
    if (bits !== undefined && bits < 2048) problems.push('JWT_PUBLIC_KEY: an RSA key must have at least 2048 bits')
    return { kind: 'public-key', key }
  } catch {
    problems.push('JWT_PUBLIC_KEY: must be a public key in PEM form')
    return null
  }
}

type KeyEnvironment =
  Partial<Record<'JWT_SECRET' | 'JWT_PUBLIC_KEY' | 'JWKS_URL' | 'JWT_AUDIENCE', string>>

// A public key is no secret: with it as the shared secret, anyone who has it could sign tokens (RFC 8725, 2.1).
const publicKeyExpression = /-----BEGIN|"kty"/

/** The key that the environment names; null: none, or there is a problem. */
export const parseTokenKey = (env: KeyEnvironment, isProduction: boolean, problems: Problems): TokenKey | null => {
  const given = (['JWT_SECRET', 'JWT_PUBLIC_KEY', 'JWKS_URL'] as const).filter(name => env[name] !== undefined)
  if (given.length > 1) {
    problems.push(`${given.join(', ')}: set only one of them`)
    return null
  }
  if (env.JWT_PUBLIC_KEY !== undefined) return parsePublicKey(env.JWT_PUBLIC_KEY, problems)
  if (env.JWKS_URL !== undefined) {
    const url = parseKeySetUrl(env.JWKS_URL, problems)
    // An issuer signs tokens for all services of a company: without an audience, any of them could write here.
    if (isProduction && env.JWT_AUDIENCE === undefined) {
      problems.push('JWT_AUDIENCE: must be set in production where JWKS_URL is')
    }
    return url === null ? null : { kind: 'jwks', url }
  }
  if (env.JWT_SECRET !== undefined) {
    if (Buffer.byteLength(env.JWT_SECRET) < secretBytesMin) {
      problems.push(`JWT_SECRET: must have at least ${secretBytesMin} bytes`)
    }
    if (publicKeyExpression.test(env.JWT_SECRET)) {
      problems.push('JWT_SECRET: must be a shared secret; set a public key as JWT_PUBLIC_KEY')
    }
    return { kind: 'secret', secret: env.JWT_SECRET }
  }
  if (isProduction) {
    problems.push('JWT_SECRET: in production one of JWT_SECRET, JWT_PUBLIC_KEY and JWKS_URL must be set')
  }
  return null
}
