import { type Static, Type } from '@sinclair/typebox'
import type { AllowedHost } from '../job/callbacks/allowed-hosts.ts'
import { checkWith, createAjv } from '../schema-check.ts'
import { parseAllowedHosts, parseWebhookSecrets, readOrCreateWebhookSecret } from './callbacks.ts'
import { type Origins, parseJobTypes, parseOrigins } from './lists.ts'
import { ConfigError, type Problems } from './problems.ts'
import { parseRedisUrl, type RedisTarget } from './redis-url.ts'
import { localSecretPath, parseTokenKey, readOrCreateSecret, type TokenKey } from './token-key.ts'
import { parseDatabaseUrl, parsePublicUrl } from './urls.ts'

const retentionSecondsMax = 100 * 365 * 86400
const changeRetentionSecondsDefault = 86400

const Environment = Type.Object({
  NODE_ENV: Type.Optional(Type.String()),
  HOST: Type.String({ default: '127.0.0.1', minLength: 1 }),
  PORT: Type.Integer({ default: 3000, minimum: 0, maximum: 65535 }),
  REUSE_PORT: Type.Boolean({ default: false }),
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

/** The configuration of the service, checked and frozen. Durations in milliseconds, sizes in bytes. */
export type Config = Readonly<{
  production: boolean
  host: string
  port: number
  /** Whether other processes may listen on the same port. */
  reusePort: boolean
  publicUrl: string | null
  /** `sqlite:` and the path of a file, or a postgres:// URL. */
  databaseUrl: string
  /** The Redis of the cache; null: the cache is in the memory of this process. */
  redis: RedisTarget | null
  /** null: as for `webhookSecrets`. */
  tokenKey: TokenKey | null
  issuer: string | null
  audience: string | null
  workers: number
  jobTypes: readonly string[] | null
  corsOrigins: Origins | null
  /** The hosts and ranges that callbacks may reach beside public addresses. */
  callbackHostsAllowed: readonly AllowedHost[]
  /**
   * The keys that sign callbacks; none: callbacks are rejected. null: the service makes its own and keeps it in its
   * database, where all processes find it.
   */
  webhookSecrets: readonly string[] | null
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

/** The configuration with every key. */
export type KeyedConfig = Config & Readonly<{ tokenKey: TokenKey, webhookSecrets: readonly string[] }>

// A misspelt production must not fall back to a generated key.
const isProduction = ({ NODE_ENV = '' }: Environment): boolean => /^\s*prod(uction)?\s*$/i.test(NODE_ENV)

// Where the kernel shares out the connections among the processes that listen on a port.
const portSharingPlatforms: readonly NodeJS.Platform[] = ['linux', 'freebsd', 'sunos', 'aix']

const checkReusePort = ({ REUSE_PORT: reusePort }: Environment, platform: NodeJS.Platform, problems: Problems): void => {
  if (!reusePort || portSharingPlatforms.includes(platform)) return
  problems.push(`REUSE_PORT: processes cannot share a port on ${platform}, only on ${portSharingPlatforms.join(', ')}`)
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

// Reads numbers in text, and sets what is missing to its default.
const check = checkWith(createAjv(true), Environment)

const readEnvironment = (env: NodeJS.ProcessEnv, problems: Problems): Environment => {
  // An empty variable is how shells and compose files say "unset".
  const entries = Object.entries(env).filter(([, value]) => value !== '')
  const odd = entries.filter(([name, value]) => isOddNumber(name, value))
  for (const [name] of odd) problems.push(`${name}: must be a decimal number`)
  const data: Record<string, unknown> = Object.fromEntries(entries.filter(entry => !odd.includes(entry)))
  const errors = check({ ...data })
  for (const { instancePath, message, params } of errors) {
    const allowed = 'allowedValues' in params ? `: ${String(params.allowedValues)}` : ''
    problems.push(`${instancePath.slice(1)}: ${message ?? 'is not valid'}${allowed}`)
  }
  // What is valid is read, so that its problems are found, too.
  const broken = new Set(errors.map(({ instancePath }) => instancePath.slice(1)))
  const rest = Object.fromEntries(Object.entries(data).filter(([name]) => !broken.has(name)))
  check(rest)
  return rest as Environment
}

/**
 * Reads and checks the environment. Throws a ConfigError that lists every problem.
 * Outside production a missing key is generated once: into `data/`, or, where the database is a Postgres, later.
 */
export const loadConfig = (
  source: NodeJS.ProcessEnv = process.env, platform: NodeJS.Platform = process.platform
): Config => {
  const problems: Problems = []
  const env = readEnvironment(source, problems)
  checkReusePort(env, platform, problems)
  const publicUrl = parsePublicUrl(env.PUBLIC_URL, problems)
  const databaseUrl = parseDatabaseUrl(env.DATABASE_URL, problems)
  const redis = parseRedisUrl(env.REDIS_URL, problems)
  const tokenKey = parseTokenKey(env, isProduction(env), problems)
  const jobTypes = parseJobTypes(env.JOB_TYPES, problems)
  const corsOrigins = parseOrigins(env.CORS_ORIGINS, problems)
  const changeRetentionMs = parseChangeRetention(env, problems)
  const callbackHostsAllowed = parseAllowedHosts(env.CALLBACK_HOSTS_ALLOWED, problems)
  const webhookSecrets = parseWebhookSecrets(env.WEBHOOK_SECRET, problems)
  if (problems.length > 0) throw new ConfigError(problems)
  const production = isProduction(env)
  const hasFile = databaseUrl?.startsWith('sqlite:') ?? false
  return Object.freeze({
    production,
    // As in a URL.
    host: env.HOST.replace(/^\[(.*)\]$/, '$1'),
    port: env.PORT,
    reusePort: env.REUSE_PORT,
    publicUrl,
    databaseUrl: databaseUrl ?? '',
    redis,
    tokenKey: tokenKey ?? (hasFile ? { kind: 'secret', secret: readOrCreateSecret(localSecretPath) } : null),
    issuer: env.JWT_ISSUER ?? null,
    audience: env.JWT_AUDIENCE ?? null,
    workers: env.WORKERS,
    jobTypes,
    corsOrigins,
    callbackHostsAllowed,
    webhookSecrets: webhookSecrets ?? (production ? [] : hasFile ? Object.freeze([readOrCreateWebhookSecret()]) : null),
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
