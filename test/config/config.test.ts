import { execFile } from 'node:child_process'
import { createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { existsSync, writeFileSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { type Config, loadConfig } from '../../src/config/config.ts'
import { ConfigError } from '../../src/config/problems.ts'

const run = promisify(execFile)
const secret = 'x'.repeat(32)
const webhookSecret = `whsec_${Buffer.alloc(32, 1).toString('base64')}`
const load = (env: Record<string, string> = {}): Config =>
  loadConfig({ JWT_SECRET: secret, WEBHOOK_SECRET: webhookSecret, ...env })

/** The lines with which a start fails. */
const problemsOf = (env: Record<string, string>, platform?: NodeJS.Platform): readonly string[] => {
  try {
    loadConfig(env, platform)
    return []
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    t.equal(error.message, error.problems.join('\n'), 'one a line')
    return error.problems
  }
}

t.test('the defaults are the documented ones', async t => {
  t.strictSame(load(), {
    production: false,
    host: '127.0.0.1',
    port: 3000,
    reusePort: false,
    publicUrl: null,
    databaseUrl: 'sqlite:data/jobs.db',
    redis: null,
    tokenKey: { kind: 'secret', secret },
    issuer: null,
    audience: null,
    workers: 1,
    jobTypes: null,
    corsOrigins: null,
    callbackHostsAllowed: [],
    webhookSecrets: [webhookSecret],
    metricsToken: null,
    metricsOfAllTypes: false,
    logLevel: 'info',
    bodyBytesMax: 1024 * 1024,
    leaseMs: 30_000,
    inputBytesMax: 104_857_600,
    cancelGraceMs: 60_000,
    drainDelayMs: 0,
    resultRetentionMs: 86_400_000,
    recordRetentionMs: 2_592_000_000,
    tombstoneRetentionMs: 2_592_000_000,
    changeRetentionMs: 86_400_000,
    pruneForeignRows: false,
    pruneIntervalMs: 60_000,
    waitersMax: 10_000,
    rateLimitPerMinute: null
  })
})

t.test('a configuration cannot be changed', async t => {
  const config = load({ JOB_TYPES: 'a,b' })
  t.ok(Object.isFrozen(config))
  t.ok(Object.isFrozen(config.jobTypes))
})

const values: Array<[name: string, value: string, key: keyof Config, expected: unknown]> = [
  ['HOST', '::', 'host', '::'],
  ['PORT', '0', 'port', 0],
  ['PORT', '65535', 'port', 65535],
  ['PUBLIC_URL', 'https://jobs.example.org', 'publicUrl', 'https://jobs.example.org'],
  ['PUBLIC_URL', 'http://jobs.example.org:8080/base//', 'publicUrl', 'http://jobs.example.org:8080/base'],
  ['HOST', '[::1]', 'host', '::1'],
  ['PORT', ' 8080 ', 'port', 8080],
  ['PORT', '8e3', 'port', 8000],
  ['PORT', '007', 'port', 7],
  ['PUBLIC_URL', 'HTTPS://Jobs.Example.org:443/A%20b/?', 'publicUrl', 'https://jobs.example.org/A%20b'],
  ['PUBLIC_URL', 'https://b\u00fccher.example', 'publicUrl', 'https://xn--bcher-kva.example'],
  ['PUBLIC_URL', 'http://[::1]:8080/#', 'publicUrl', 'http://[::1]:8080'],
  ['DATABASE_URL', 'sqlite:/var/lib/jobs.db', 'databaseUrl', 'sqlite:/var/lib/jobs.db'],
  ['DATABASE_URL', 'sqlite:a%20b/50%25%3F%23.db', 'databaseUrl', 'sqlite:a b/50%?#.db'],
  ['DATABASE_URL', 'sqlite:///var/lib/jobs.db', 'databaseUrl', 'sqlite:/var/lib/jobs.db'],
  ['DATABASE_URL', 'sqlite:a b/ü.db', 'databaseUrl', 'sqlite:a b/ü.db'],
  ['DATABASE_URL', 'postgresql://u:p%40@a:1,b/jobs?sslmode=require', 'databaseUrl',
    'postgresql://u:p%40@a:1,b/jobs?sslmode=require'],
  ['REDIS_URL', 'redis://localhost:6379/1', 'redis', { kind: 'redis', location: 'redis://localhost:6379/1' }],
  ['REDIS_URL', 'rediss://user:pass@example.org', 'redis', { kind: 'redis', location: 'rediss://user:pass@example.org' }],
  ['REDIS_URL', 'REDISS://example.org', 'redis', { kind: 'redis', location: 'rediss://example.org' }],
  ['REDIS_URL', 'redis://:p%40ss%2F@[::1]:6380', 'redis', { kind: 'redis', location: 'redis://:p%40ss%2F@[::1]:6380' }],
  ['REDIS_URL', 'redis://localhost/?family=6&db=2', 'redis', { kind: 'redis', location: 'redis://localhost/2?family=6' }],
  ['REDIS_URL', 'redis://', 'redis', { kind: 'redis', location: 'redis://localhost' }],
  ['REDIS_URL', 'unix:/run/redis.sock', 'redis', { kind: 'redis', location: 'unix:///run/redis.sock' }],
  ['REDIS_URL', 'unix:///run/a%20b.sock?db=2&password=x%26y', 'redis', { kind: 'redis', location: 'unix:///run/a b.sock?db=2&password=x%26y' }],
  ['REDIS_URL', 'redis+sentinel://a,b:1,[::1]:65535/my%2Fmaster', 'redis', {
    kind: 'redis-sentinel',
    hosts: [{ host: 'a', port: 26379 }, { host: 'b', port: 1 }, { host: '::1', port: 65535 }],
    name: 'my/master',
    db: 0,
    credentials: {},
    sentinelCredentials: {},
    tls: false,
    family: 0
  }],
  ['REDIS_URL', 'REDISS+Sentinel://u%40:p%3A:q@a_1/m/3?family=6&sentinelPassword=s%26', 'redis', {
    kind: 'redis-sentinel',
    hosts: [{ host: 'a_1', port: 26379 }],
    name: 'm',
    db: 3,
    credentials: { username: 'u@', password: 'p::q' },
    sentinelCredentials: { password: 's&' },
    tls: true,
    family: 6
  }],
  ['REDIS_URL', 'redis+cluster://10.0.0.1,10.0.0.2:7000/', 'redis', {
    kind: 'redis-cluster',
    hosts: [{ host: '10.0.0.1', port: 6379 }, { host: '10.0.0.2', port: 7000 }],
    credentials: {},
    tls: false,
    family: 0
  }],
  ['REDIS_URL', 'rediss+cluster://:p@a.example.org', 'redis', {
    kind: 'redis-cluster',
    hosts: [{ host: 'a.example.org', port: 6379 }],
    credentials: { password: 'p' },
    tls: true,
    family: 0
  }],
  ['JWT_ISSUER', 'https://login.example.org/', 'issuer', 'https://login.example.org/'],
  ['JWT_AUDIENCE', 'jobs', 'audience', 'jobs'],
  ['REUSE_PORT', 'true', 'reusePort', true],
  ['REUSE_PORT', 'false', 'reusePort', false],
  ['WORKERS', '0', 'workers', 0],
  ['JOB_TYPES', 'report', 'jobTypes', ['report']],
  ['JOB_TYPES', 'report, 0x.y_z-1', 'jobTypes', ['report', '0x.y_z-1']],
  ['CORS_ORIGINS', ' * ', 'corsOrigins', '*'],
  ['CORS_ORIGINS', 'https://App.example.org:443, http://[::1]:3000/,tauri://localhost', 'corsOrigins', [
    'https://app.example.org', 'http://[::1]:3000', 'tauri://localhost'
  ]],
  ['METRICS_TOKEN', 'a.b~c_d+/e-f==', 'metricsToken', 'a.b~c_d+/e-f=='],
  ['METRICS_TYPES', 'all', 'metricsOfAllTypes', true],
  ['LOG_LEVEL', 'silent', 'logLevel', 'silent'],
  ['BODY_BYTES_MAX', '2048', 'bodyBytesMax', 2048],
  ['LEASE_SECONDS', '1', 'leaseMs', 1000],
  ['INPUT_BYTES_MAX', '4096', 'inputBytesMax', 4096],
  ['CANCEL_GRACE_SECONDS', '0', 'cancelGraceMs', 0],
  ['DRAIN_DELAY_SECONDS', '5', 'drainDelayMs', 5000],
  ['RESULT_RETENTION_SECONDS', '60', 'resultRetentionMs', 60_000],
  ['RECORD_RETENTION_SECONDS', '61', 'recordRetentionMs', 61_000],
  ['TOMBSTONE_RETENTION_SECONDS', '62', 'tombstoneRetentionMs', 62_000],
  ['TOMBSTONE_RETENTION_SECONDS', '62', 'changeRetentionMs', 62_000],
  ['CHANGE_RETENTION_SECONDS', '60', 'changeRetentionMs', 60_000],
  ['CHANGE_RETENTION_SECONDS', '2592000', 'changeRetentionMs', 2_592_000_000],
  ['PRUNE_FOREIGN_ROWS', 'true', 'pruneForeignRows', true],
  ['PRUNE_INTERVAL_SECONDS', '5', 'pruneIntervalMs', 5000],
  ['WAITERS_MAX', '0', 'waitersMax', 0],
  ['NODE_ENV', 'production', 'production', true],
  ['NODE_ENV', 'production ', 'production', true],
  ['NODE_ENV', 'development', 'production', false],
  ['PORT', '', 'port', 3000],
  ['REDIS_URL', '', 'redis', null],
  ['RATE_LIMIT_PER_MINUTE', '10', 'rateLimitPerMinute', 10],
  ['RATE_LIMIT_PER_MINUTE', '', 'rateLimitPerMinute', null]
]

for (const [name, value, key, expected] of values) {
  t.test(`${name}=${value} is understood`, async t => {
    t.strictSame(load({ [name]: value })[key], expected)
  })
}

const badValues: Array<readonly [name: string, value: string, line: RegExp]> = [
  ['PORT', '65536', /^PORT: must be <= 65535$/],
  ['PORT', '-1', /^PORT: must be >= 0$/],
  ['PORT', 'http', /^PORT: must be integer$/],
  ['PORT', '80.5', /^PORT: must be integer$/],
  ['PORT', '0x1f90', /^PORT: must be a decimal number$/],
  ['REUSE_PORT', '1', /^REUSE_PORT: must be boolean$/],
  ['INPUT_BYTES_MAX', '0B10000000000', /^INPUT_BYTES_MAX: must be a decimal number$/],
  ['WORKERS', '65', /^WORKERS: must be <= 64$/],
  ['WORKERS', 'two', /^WORKERS: must be integer$/],
  ['METRICS_TOKEN', 'two words', /^METRICS_TOKEN: must match pattern/],
  ['METRICS_TYPES', 'some', /^METRICS_TYPES: must be equal to one of the allowed values: all$/],
  ['LOG_LEVEL', 'loud', /^LOG_LEVEL: must be equal to one of the allowed values: .*debug/],
  ['LOG_LEVEL', 'INFO', /^LOG_LEVEL: /],
  ['BODY_BYTES_MAX', '1023', /^BODY_BYTES_MAX: must be >= 1024$/],
  ['BODY_BYTES_MAX', '1 MiB', /^BODY_BYTES_MAX: must be integer$/],
  ['LEASE_SECONDS', '0', /^LEASE_SECONDS: must be >= 1$/],
  ['LEASE_SECONDS', '3601', /^LEASE_SECONDS: must be <= 3600$/],
  ['INPUT_BYTES_MAX', '1023', /^INPUT_BYTES_MAX: must be >= 1024$/],
  ['CANCEL_GRACE_SECONDS', '-1', /^CANCEL_GRACE_SECONDS: must be >= 0$/],
  ['DRAIN_DELAY_SECONDS', '301', /^DRAIN_DELAY_SECONDS: must be <= 300$/],
  ['RESULT_RETENTION_SECONDS', '0', /^RESULT_RETENTION_SECONDS: must be >= 1$/],
  ['RECORD_RETENTION_SECONDS', '1 day', /^RECORD_RETENTION_SECONDS: must be integer$/],
  ['CHANGE_RETENTION_SECONDS', '59', /^CHANGE_RETENTION_SECONDS: must be >= 60$/],
  ['CHANGE_RETENTION_SECONDS', '2592001',
    /^CHANGE_RETENTION_SECONDS: must be <= TOMBSTONE_RETENTION_SECONDS, which is 2592000$/],
  ['TOMBSTONE_RETENTION_SECONDS', '3153600001', /^TOMBSTONE_RETENTION_SECONDS: must be <= 3153600000$/],
  ['PRUNE_FOREIGN_ROWS', 'yes', /^PRUNE_FOREIGN_ROWS: must be boolean$/],
  ['PRUNE_INTERVAL_SECONDS', '0', /^PRUNE_INTERVAL_SECONDS: /],
  ['WAITERS_MAX', '-1', /^WAITERS_MAX: must be >= 0$/],
  ['RATE_LIMIT_PER_MINUTE', '0', /^RATE_LIMIT_PER_MINUTE: must be >= 1$/],
  ['RATE_LIMIT_PER_MINUTE', 'many', /^RATE_LIMIT_PER_MINUTE: must be integer$/],
  ['RATE_LIMIT_PER_MINUTE', '10000001', /^RATE_LIMIT_PER_MINUTE: must be <= 10000000$/],
  ['PUBLIC_URL', 'jobs.example.org', /^PUBLIC_URL: must be a URL that begins with http:\/\/ or https:\/\/$/],
  ['PUBLIC_URL', 'ftp://example.org', /^PUBLIC_URL: /],
  ['PUBLIC_URL', 'https://example.org/?a=1', /^PUBLIC_URL: must have neither query nor fragment$/],
  ['PUBLIC_URL', 'https://example.org/#a', /^PUBLIC_URL: must have neither query nor fragment$/],
  ['PUBLIC_URL', 'https:example.org', /^PUBLIC_URL: must be a URL that begins with/],
  ['PUBLIC_URL', 'https://u:p@localhost', /^PUBLIC_URL: must have neither user name nor password$/],
  ['DATABASE_URL', 'sqlite://data/jobs.db', /^DATABASE_URL: must name no host: write sqlite:PATH or sqlite:\/\/\/PATH$/],
  ['DATABASE_URL', 'sqlite:data/jobs.db?mode=ro', /^DATABASE_URL: must have neither options nor a fragment; .*%3F/],
  ['DATABASE_URL', 'sqlite:data/jobs.db#a', /^DATABASE_URL: must have neither options nor a fragment; /],
  ['DATABASE_URL', 'sqlite:100%.db', /^DATABASE_URL: must have % of its path written as %25$/],
  ...['data/', '..', 'file:jobs.db', '///:memory:', 'a%00b'].map(path =>
    ['DATABASE_URL', `sqlite:${path}`, /^DATABASE_URL: must be sqlite:PATH, the path of a file, /] as const),
  ['DATABASE_URL', 'data/jobs.db', /^DATABASE_URL: must be sqlite:PATH/],
  ['DATABASE_URL', 'sqlite:', /^DATABASE_URL: must be sqlite:PATH/],
  ['DATABASE_URL', 'sqlite::memory:', /^DATABASE_URL: must be sqlite:PATH/],
  ['DATABASE_URL', 'mysql://localhost/x', /^DATABASE_URL: must be sqlite:PATH/],
  ['DATABASE_URL', 'postgres:localhost/jobs', /^DATABASE_URL: must be sqlite:PATH, .* or a URL that begins with postgres:\/\//],
  ...['app.example.org', 'https://app.example.org/path', 'https://a.example,*', 'null', 'https://a.example,']
    .map((value): typeof badValues[number] => ['CORS_ORIGINS', value, /^CORS_ORIGINS: must be \* or a list of origins/]),
  ['REDIS_URL', 'localhost:6379', /^REDIS_URL: must be a URL that begins with redis:\/\//],
  ['REDIS_URL', 'http://localhost', /^REDIS_URL: /],
  ...['localhost:65536', 'localhost:one', 'u:p/s@localhost', 'local host'].map(host =>
    ['REDIS_URL', `redis://${host}`, /^REDIS_URL: has a host or a port that cannot be read; a port is a number up to 65535, /] as const),
  ['PUBLIC_URL', 'https://example.org:https', /^PUBLIC_URL: has a host or a port that cannot be read/],
  ['REDIS_URL', 'redis:localhost', /^REDIS_URL: must be a URL that begins with redis:\/\//],
  ['REDIS_URL', 'redis+unix:///run/redis.sock', /^REDIS_URL: must be a URL that begins with redis:\/\//],
  ['REDIS_URL', 'redis-sentinel://a:26379/primary', /^REDIS_URL: must be a URL that begins with redis:\/\//],
  ...['a,b', 'b\u00fccher', 'a:0', 'a%20b'].map(host =>
    ['REDIS_URL', `redis://u:p@${host}/1`, /^REDIS_URL: must name one host, and its port if not 6379$/] as const),
  ['REDIS_URL', 'redis://u@localhost', /^REDIS_URL: a user name needs a password$/],
  ['REDIS_URL', 'redis://u:p%@localhost', /^REDIS_URL: must have % written as %25$/],
  ...['jobs', '-1', '1/2', '1.5', '99999999999'].map(path =>
    ['REDIS_URL', `redis://localhost/${path}`, /^REDIS_URL: the path must be the number of a database, like \/1$/] as const),
  ['REDIS_URL', 'redis://localhost?db=one', /^REDIS_URL: db must be the number of a database$/],
  ['REDIS_URL', 'redis://localhost/1?db=2', /^REDIS_URL: names two databases$/],
  ['REDIS_URL', 'redis://localhost?family=5', /^REDIS_URL: family must be 0, 4 or 6$/],
  ['REDIS_URL', 'redis://localhost?db=1&db=1', /^REDIS_URL: has db more than once$/],
  ['REDIS_URL', 'redis://localhost?ssl_cert_reqs=p@localhost', /^REDIS_URL: ssl_cert_reqs is not supported here$/],
  ['REDIS_URL', 'redis://localhost#1', /^REDIS_URL: must have no fragment; write # as %23$/],
  ...['unix:redis.sock', 'unix://run/redis.sock', 'unix://', 'unix:///run/%3F.sock'].map(url =>
    ['REDIS_URL', url, /^REDIS_URL: must name a socket by its absolute path, like unix:\/\/\/run\/redis.sock$/] as const),
  ['REDIS_URL', 'unix:///run/redis.sock?family=4', /^REDIS_URL: family is not supported here$/],
  ...['', 'a,', 'a:0', 'a:70000', 'a:b', 'a b', 'b\u00fccher', 'a:1:2', '::1'].flatMap(hosts => ['sentinel', 'cluster'].map(kind =>
    ['REDIS_URL', `redis+${kind}://${hosts}/m`, /^REDIS_URL: must (name its hosts like HOST:PORT, with|have the form redis)/] as const)),
  ['REDIS_URL', 'redis+cluster://user:p@localhost:s@a', /^REDIS_URL: must have the form redis\+cluster:\/\/USER:PASSWORD@HOST:PORT/],
  ['REDIS_URL', 'redis+cluster://u:p/a@b', /^REDIS_URL: must have the form redis\+cluster:/],
  ['REDIS_URL', 'redis+cluster://u:p@a/1', /^REDIS_URL: a cluster has no databases, so there must be no path$/],
  ['REDIS_URL', 'redis+cluster://u@a', /^REDIS_URL: a user name needs a password$/],
  ['REDIS_URL', 'redis+cluster://u:p%@a', /^REDIS_URL: must have % written as %25$/],
  ['REDIS_URL', 'redis+cluster://a?db=1', /^REDIS_URL: db is not supported here$/],
  ['REDIS_URL', 'redis+cluster://a#b', /^REDIS_URL: must have no fragment; write # as %23$/],
  ...['', '/', '//1', '/m/x', '/m/1/2'].map(path =>
    ['REDIS_URL', `redis+sentinel://a:1,b:2${path}`, /^REDIS_URL: the path must be the name that the Sentinels give the master, like \/mymaster$/] as const),
  ['REDIS_URL', 'redis+sentinel://a/m?sentinelUsername=u', /^REDIS_URL: a user name needs a password$/],
  ['JOB_TYPES', 'report,,sanitize', /^JOB_TYPES: must be a list of names/],
  ['JOB_TYPES', 'Report', /^JOB_TYPES: /],
  ['JOB_TYPES', 'x'.repeat(65), /^JOB_TYPES: /],
  ['JWT_SECRET', 'x'.repeat(31), /^JWT_SECRET: must have at least 32 bytes$/]
]

for (const [name, value, line] of badValues) {
  t.test(`${name}=${value.slice(0, 40)} stops the start, with a line of its own`, async t => {
    const problems = problemsOf({ JWT_SECRET: secret, [name]: value })
    t.equal(problems.length, 1)
    t.match(problems[0], line)
    t.notMatch(problems[0], 'p@localhost', 'without what may be a password')
  })
}

t.test('every problem is listed, of the schema and of the other checks', async t => {
  const problems = problemsOf({
    PORT: 'x',
    LOG_LEVEL: 'loud',
    WORKERS: '-1',
    DATABASE_URL: 'x',
    REDIS_URL: 'x',
    PUBLIC_URL: 'x',
    JOB_TYPES: '!',
    JWT_SECRET: 'short'
  })
  const names = problems.map(line => line.split(':')[0])
  t.same(names.toSorted(), [
    'DATABASE_URL', 'JOB_TYPES', 'JWT_SECRET', 'LOG_LEVEL', 'PORT', 'PUBLIC_URL', 'REDIS_URL', 'WORKERS'
  ])
})

t.test('the length of the secret is counted in bytes', async t => {
  t.strictSame(loadConfig({ JWT_SECRET: 'ü'.repeat(16) }).tokenKey, { kind: 'secret', secret: 'ü'.repeat(16) })
})

const toPem = (key: KeyObject) => key.export({ type: 'spki', format: 'pem' }).toString()

t.test('a public key is PEM, with real or written line breaks', async t => {
  const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  for (const pem of [toPem(publicKey), toPem(publicKey).replaceAll('\n', '\\n')]) {
    const { tokenKey } = loadConfig({ JWT_PUBLIC_KEY: pem })
    t.equal(tokenKey?.kind, 'public-key')
    t.ok(tokenKey?.kind === 'public-key' && tokenKey.key.equals(createPublicKey(toPem(publicKey))))
  }
})

t.test('a key that is weak, or no public signing key, stops the start', async t => {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const weak = generateKeyPairSync('rsa', { modulusLength: 1024 })
  const exchange = generateKeyPairSync('x25519')
  const keys: Array<[string, string, RegExp]> = [
    ['a private key', privateKey.export({
      type: 'pkcs8', format: 'pem'
    }).toString(), /^JWT_PUBLIC_KEY: must be a public key in PEM form$/],
    ['no key', 'hello', /^JWT_PUBLIC_KEY: must be a public key in PEM form$/],
    ['a weak key', toPem(weak.publicKey), /^JWT_PUBLIC_KEY: an RSA key must have at least 2048 bits$/],
    ['a key that signs nothing', toPem(exchange.publicKey), /^JWT_PUBLIC_KEY: /]
  ]
  for (const [what, pem, line] of keys) {
    const problems = problemsOf({ JWT_PUBLIC_KEY: pem })
    t.equal(problems.length, 1, what)
    t.match(problems[0], line, what)
  }
})

t.test('in production a key set needs an audience', async t => {
  const keySet = { NODE_ENV: 'production', JWKS_URL: 'https://login.example.org/keys' }
  t.same(problemsOf(keySet), ['JWT_AUDIENCE: must be set in production where JWKS_URL is'])
  t.equal(loadConfig({ ...keySet, JWT_AUDIENCE: 'jobs' }).audience, 'jobs')
})

t.test('JWKS_URL must be an http or https URL', async t => {
  t.same(loadConfig({ JWKS_URL: 'https://login.example.org/keys' }).tokenKey, {
    kind: 'jwks', url: new URL('https://login.example.org/keys')
  })
  for (const url of ['file:///etc/keys', 'keys.json']) {
    t.match(problemsOf({ JWKS_URL: url }), [/^JWKS_URL: must be a URL/])
  }
  t.same(problemsOf({ JWKS_URL: 'https://u:p@localhost/' }), ['JWKS_URL: must have neither user name nor password'])
  t.same(problemsOf({ JWKS_URL: 'https://localhost/#1' }), ['JWKS_URL: must have no fragment'])
})

t.test('only one key may be given, and in production one must', async t => {
  t.match(problemsOf({
    JWT_SECRET: secret, JWKS_URL: 'https://x.example.org'
  }), ['JWT_SECRET, JWKS_URL: set only one of them'])
  t.match(problemsOf({
    NODE_ENV: 'production'
  }), [/^JWT_SECRET: in production one of JWT_SECRET, JWT_PUBLIC_KEY and JWKS_URL must be set$/])
  t.match(problemsOf({ NODE_ENV: 'production', JWT_SECRET: '' }), [/in production/], 'an empty variable is none')
})

const keyScript = `
  import { loadConfig } from ${JSON.stringify(join(import.meta.dirname, '../../src/config/config.ts'))}
  process.stdout.write(loadConfig().tokenKey.secret)`

t.test('outside production a missing key is created once, readable by its owner alone', async t => {
  const cwd = t.testdir()
  const start = async (env: Record<string, string> = {}) =>
    (await run(process.execPath, ['--input-type=module', '-e', keyScript], {
      cwd, env: { PATH: process.env.PATH, ...env }
    })).stdout
  const path = join(cwd, 'data/jwt-secret')
  await t.rejects(start({ NODE_ENV: 'production' }), /in production one of/)
  await t.rejects(start({ PORT: 'x' }), /PORT/)
  t.notOk(existsSync(path), 'a start that fails creates none')
  const [first, second] = await Promise.all([start(), start()])
  t.match(first, /^[\w-]{64}$/)
  t.equal(second, first, 'two starts at once agree')
  t.equal(await start(), first, 'and it stays')
  t.equal(statSync(path).mode & 0o777, 0o600)
  t.equal(readFileSync(path, 'utf8').trim(), first)
  for (const short of ['', 'abc']) {
    writeFileSync(path, short)
    await t.rejects(start(), /JWT_SECRET: is unset, and data\/jwt-secret holds fewer than 32 bytes/)
  }
})
