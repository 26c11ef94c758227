import { createPublicKey, type KeyObject, randomBytes } from 'node:crypto'
import { type Static, Type } from '@sinclair/typebox'
import { envSchema } from 'env-schema'
import type { AllowedHost } from '../job/callbacks/allowed-hosts.ts'
import { parseAllowedHosts, parseWebhookSecrets, readOrCreateWebhookSecret } from './callbacks.ts'
import { type Origins, parseJobTypes, parseOrigins } from './lists.ts'
import { readOrCreateFile } from './local-file.ts'
import {
  parseDatabasePath, parseKeySetUrl, parsePublicUrl, parseRedisUrl, type Problems
} from './urls.ts'
import { OperatorError } from '../errors.ts'

const retentionSecondsMax = 100 * 365 * 86400
const changeRetentionSecondsDefault = 86400

const Environment = Type.Object({
  NODE_ENV: Type.Optional(Type.String()),
  HOST: Type.String({ default: '127.0.0.1', minLength: 1 }),
  PORT: Type.Integer({ default: 3000, minimum: 0, maximum: 65535 }),
  PUBLIC_URL: Type.Optional(Type.String()),
  DATABASE_URL: Type.String({ default: 'sqlite:data/jobs.db' }),
  REDIS_URL: Type.Optional(Type.String()),
  JWT_SECRET: Type.Optional(Type.String()),
  JWT_PUBLIC_KEY: Type.Optional(Type.String()),
  JWKS_URL: Type.Optional(Type.String()),
  JWT_ISSUER: Type.Optional(Type.String({ minLength: 1 })),
  JWT_AUDIENCE: Type.Optional(Type.String({ minLength: 1 })),
  WORKERS: Type.Integer({ default: 1, minimum: 0, maximum: 64 }),
  JOB_TYPES: Type.Optional(Type.String()),
  CORS_ORIGINS: Type.Optional(Type.String()),
  CALLBACK_HOSTS_ALLOWED: Type.Optional(Type.String()),
  WEBHOOK_SECRET: Type.Optional(Type.String()),
  METRICS_TOKEN: Type.Optional(Type.String({ pattern: '^[A-Za-z0-9._~+/-]+=*$' })),
  METRICS_TYPES: Type.Optional(Type.Unsafe<'all'>({ type: 'string', enum: ['all'] })),
  LOG_LEVEL: Type.Unsafe<LogLevel>({
    type: 'string', default: 'info', enum: ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent']
  }),
  BODY_BYTES_MAX: Type.Integer({ default: 1024 * 1024, minimum: 1024, maximum: 64 * 1024 * 1024 }),
  INPUT_BYTES_MAX: Type.Integer({ default: 100 * 1024 * 1024, minimum: 1024, maximum: 16 * 1024 ** 3 }),
  LEASE_SECONDS: Type.Integer({ default: 30, minimum: 1, maximum: 3600 }),
  CANCEL_GRACE_SECONDS: Type.Integer({ default: 60, minimum: 0, maximum: 86400 }),
  DRAIN_DELAY_SECONDS: Type.Integer({ default: 0, minimum: 0, maximum: 300 }),
  RESULT_RETENTION_SECONDS: Type.Integer({ default: 86400, minimum: 1, maximum: retentionSecondsMax }),
  RECORD_RETENTION_SECONDS: Type.Integer({ default: 30 * 86400, minimum: 1, maximum: retentionSecondsMax }),
  TOMBSTONE_RETENTION_SECONDS: Type.Integer({ default: 30 * 86400, minimum: 1, maximum: retentionSecondsMax }),
  // The relay of a live process is never a minute behind.
  CHANGE_RETENTION_SECONDS: Type.Optional(Type.Integer({ minimum: 60, maximum: retentionSecondsMax })),
  PRUNE_FOREIGN_ROWS: Type.Boolean({ default: false }),
  PRUNE_INTERVAL_SECONDS: Type.Integer({ default: 60, minimum: 1, maximum: 86400 }),
  WAITERS_MAX: Type.Integer({ default: 10000, minimum: 0, maximum: 1_000_000 }),
  RATE_LIMIT_PER_MINUTE: Type.Optional(Type.Integer({ minimum: 1, maximum: 10_000_000 }))
})

type LogLevel = 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace' | 'silent'
type Environment = Static<typeof Environment>

/** What verifies tokens. The algorithm follows from the key, never from the token. */
export type TokenKey =
  | { kind: 'secret', secret: string }
  | { kind: 'public-key', key: KeyObject }
  | { kind: 'jwks', url: URL }

/** The configuration of the service, checked and frozen. Durations in milliseconds, sizes in bytes. */
export type Config = Readonly<{
  production: boolean
  host: string
  port: number
  publicUrl: string | null
  databasePath: string
  redisUrl: string | null
  tokenKey: TokenKey
  issuer: string | null
  audience: string | null
  workers: number
  jobTypes: readonly string[] | null
  corsOrigins: Origins | null
  /** The hosts and ranges that callbacks may reach beside public addresses. */
  callbackHostsAllowed: readonly AllowedHost[]
  /** The keys that sign callbacks; none: callbacks are rejected. */
  webhookSecrets: readonly string[]
  /** The bearer token that /metrics needs; null: none. */
  metricsToken: string | null
  /** Whether metrics name every job type, and not only the known ones. */
  metricsOfAllTypes: boolean
  logLevel: LogLevel
  bodyBytesMax: number
  inputBytesMax: number
  leaseMs: number
  cancelGraceMs: number
  drainDelayMs: number
  resultRetentionMs: number
  recordRetentionMs: number
  tombstoneRetentionMs: number
  changeRetentionMs: number
  pruneForeignRows: boolean
  pruneIntervalMs: number
  /** The most clients that wait at once. */
  waitersMax: number
  rateLimitPerMinute: number | null
}>

/** The environment is not valid; `problems` names every wrong variable and what it must be. */
export class ConfigError extends OperatorError {
  readonly problems: readonly string[]

  constructor (problems: readonly string[]) {
    super(problems.join('\n'))
    this.name = 'ConfigError'
    this.problems = problems
  }
}

const secretBytesMin = 32

/** The file with the key of a local service, outside production. */
export const localSecretPath = 'data/jwt-secret'

/** Returns the key of a local service. It is created once, readable by its owner alone. */
export const readOrCreateSecret = (path: string): string => {
  const secret = readOrCreateFile(path, () => randomBytes(48).toString('base64url'))
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

// A misspelt production must not fall back to a generated key.
const isProduction = ({ NODE_ENV = '' }: Environment): boolean => /^\s*prod(uction)?\s*$/i.test(NODE_ENV)

// A public key is no secret: with it as the shared secret, anyone who has it could sign tokens (RFC 8725, 2.1).
const publicKeyExpression = /-----BEGIN|"kty"/

const parseTokenKey = (env: Environment, problems: Problems): TokenKey | null => {
  const given = (['JWT_SECRET', 'JWT_PUBLIC_KEY', 'JWKS_URL'] as const).filter(name => env[name] !== undefined)
  if (given.length > 1) {
    problems.push(`${given.join(', ')}: set only one of them`)
    return null
  }
  if (env.JWT_PUBLIC_KEY !== undefined) return parsePublicKey(env.JWT_PUBLIC_KEY, problems)
  if (env.JWKS_URL !== undefined) {
    const url = parseKeySetUrl(env.JWKS_URL, problems)
    // An issuer signs tokens for all services of a company: without an audience, any of them could write here.
    if (isProduction(env) && env.JWT_AUDIENCE === undefined) {
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
  if (isProduction(env)) {
    problems.push('JWT_SECRET: in production one of JWT_SECRET, JWT_PUBLIC_KEY and JWKS_URL must be set')
  }
  return null
}

// The version at which a job was removed is in its tombstone, and a follower needs it.
const parseChangeRetention = (env: Environment, problems: Problems): number => {
  const { CHANGE_RETENTION_SECONDS: seconds, TOMBSTONE_RETENTION_SECONDS: secondsMax } = env
  if (seconds !== undefined && seconds > secondsMax) {
    problems.push(`CHANGE_RETENTION_SECONDS: must be <= TOMBSTONE_RETENTION_SECONDS, which is ${secondsMax}`)
  }
  return 1000 * (seconds ?? Math.min(changeRetentionSecondsDefault, secondsMax))
}

// The conversion to numbers also reads 0x10 and 0b1, which may be a typing error rather than 16 and 1.
const isOddNumber = (name: string, value = ''): boolean =>
  (Environment.properties as Record<string, { type?: string }>)[name]?.type === 'integer' && /^\s*0[box]/i.test(value)

const readEnvironment = (env: NodeJS.ProcessEnv, problems: Problems): Environment => {
  // An empty variable is how shells and compose files say "unset".
  const entries = Object.entries(env).filter(([, value]) => value !== '')
  const odd = entries.filter(([name, value]) => isOddNumber(name, value))
  for (const [name] of odd) problems.push(`${name}: must be a decimal number`)
  const data = Object.fromEntries(entries.filter(entry => !odd.includes(entry)))
  try {
    return envSchema<Environment>({ schema: Environment, data, env: false, dotenv: false })
  } catch (error) {
    const { errors } = error as { errors?: { instancePath: string, message?: string, params: object }[] }
    if (errors === undefined) throw error
    for (const { instancePath, message, params } of errors) {
      const allowed = 'allowedValues' in params ? `: ${String(params.allowedValues)}` : ''
      problems.push(`${instancePath.slice(1)}: ${message ?? 'is not valid'}${allowed}`)
    }
    const broken = new Set(errors.map(({ instancePath }) => instancePath.slice(1)))
    const rest = Object.fromEntries(Object.entries(data).filter(([name]) => !broken.has(name)))
    return envSchema<Environment>({ schema: Environment, data: rest, env: false, dotenv: false })
  }
}

/**
 * Reads and checks the environment. Throws a ConfigError that lists every problem.
 * Outside production a missing key is generated once into `data/`.
 */
export const loadConfig = (source: NodeJS.ProcessEnv = process.env): Config => {
  const problems: Problems = []
  const env = readEnvironment(source, problems)
  const publicUrl = parsePublicUrl(env.PUBLIC_URL, problems)
  const databasePath = parseDatabasePath(env.DATABASE_URL, problems)
  const redisUrl = parseRedisUrl(env.REDIS_URL, problems)
  const tokenKey = parseTokenKey(env, problems)
  const jobTypes = parseJobTypes(env.JOB_TYPES, problems)
  const corsOrigins = parseOrigins(env.CORS_ORIGINS, problems)
  const changeRetentionMs = parseChangeRetention(env, problems)
  const callbackHostsAllowed = parseAllowedHosts(env.CALLBACK_HOSTS_ALLOWED, problems)
  const webhookSecrets = parseWebhookSecrets(env.WEBHOOK_SECRET, problems)
  if (problems.length > 0) throw new ConfigError(problems)
  const production = isProduction(env)
  return Object.freeze({
    production,
    // As in a URL.
    host: env.HOST.replace(/^\[(.*)\]$/, '$1'),
    port: env.PORT,
    publicUrl,
    databasePath: databasePath ?? '',
    redisUrl,
    tokenKey: tokenKey ?? { kind: 'secret', secret: readOrCreateSecret(localSecretPath) },
    issuer: env.JWT_ISSUER ?? null,
    audience: env.JWT_AUDIENCE ?? null,
    workers: env.WORKERS,
    jobTypes,
    corsOrigins,
    callbackHostsAllowed,
    webhookSecrets: webhookSecrets ?? Object.freeze(production ? [] : [readOrCreateWebhookSecret()]),
    metricsToken: env.METRICS_TOKEN ?? null,
    metricsOfAllTypes: env.METRICS_TYPES === 'all',
    logLevel: env.LOG_LEVEL,
    bodyBytesMax: env.BODY_BYTES_MAX,
    inputBytesMax: env.INPUT_BYTES_MAX,
    leaseMs: env.LEASE_SECONDS * 1000,
    cancelGraceMs: env.CANCEL_GRACE_SECONDS * 1000,
    drainDelayMs: env.DRAIN_DELAY_SECONDS * 1000,
    resultRetentionMs: env.RESULT_RETENTION_SECONDS * 1000,
    recordRetentionMs: env.RECORD_RETENTION_SECONDS * 1000,
    tombstoneRetentionMs: env.TOMBSTONE_RETENTION_SECONDS * 1000,
    changeRetentionMs,
    pruneForeignRows: env.PRUNE_FOREIGN_ROWS,
    pruneIntervalMs: env.PRUNE_INTERVAL_SECONDS * 1000,
    waitersMax: env.WAITERS_MAX,
    rateLimitPerMinute: env.RATE_LIMIT_PER_MINUTE ?? null
  } satisfies Config)
}
