import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join, resolve } from 'node:path'
import { statSync } from 'node:fs'
import { promisify } from 'node:util'
import { createVerifier } from 'fast-jwt'
import t from 'tap'
import { sqlite3 } from '../helpers/databases.ts'

const run = promisify(execFile)
// Of scripts that run nothing of src, but large programs of others. (Node adds the variable where it is missing.)
const uncovered = { NODE_V8_COVERAGE: '' }
const { PATH, NODE_V8_COVERAGE, NODE_COMPILE_CACHE } = process.env
const root = resolve(import.meta.dirname, '../..')

/** Runs a script in the folder `cwd`, with these variables only. */
const script = async (name: string, args: string[], cwd: string, env: Record<string, string> = {}) =>
  await run(process.execPath, [join(root, 'scripts', name), ...args], {
    cwd, env: { PATH, NODE_V8_COVERAGE, NODE_COMPILE_CACHE, ...env }
  }).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    (error: { code: number, stdout: string, stderr: string }) => error
  )

t.test('token: signs with the key that the local service generated, or generates it', async t => {
  const cwd = t.testdir()
  const { stdout } = await script('token.ts', ['--sub', 'ci', '--scope', 'jobs:read jobs:write'], cwd)
  const again = await script('token.ts', ['--sub', 'ci', '--tenant', 'acme', '--expires', '60'], cwd)
  const { mode } = statSync(join(cwd, 'data/jwt-secret'))
  t.equal(mode & 0o777, 0o600)
  const secret = (await run('cat', [join(cwd, 'data/jwt-secret')])).stdout
  const verify = createVerifier({ key: secret, algorithms: ['HS256'], requiredClaims: ['exp'] })
  t.match(verify(stdout.trim()), { sub: 'ci', scope: 'jobs:read jobs:write' })
  const payload = verify(again.stdout.trim())
  t.match(payload, { sub: 'ci', tenant: 'acme' })
  t.equal(payload.exp - payload.iat, 60)
  t.notOk('scope' in payload)
})

t.test('token: uses the key and the claims of the environment', async t => {
  const secret = 'a'.repeat(40)
  const { stdout } = await script('token.ts', ['--sub', 'ci'], t.testdir(), {
    JWT_SECRET: secret, JWT_ISSUER: 'me', JWT_AUDIENCE: 'you'
  })
  t.match(createVerifier({ key: secret })(stdout.trim()), { iss: 'me', aud: 'you' })
})

t.test('token: treats an empty variable as unset', async t => {
  const { code, stdout } = await script('token.ts', ['--sub', 'ci'], t.testdir(), {
    JWT_SECRET: '', JWT_ISSUER: '', JWKS_URL: ''
  })
  t.equal(code, 0)
  t.notOk('iss' in JSON.parse(Buffer.from(stdout.split('.')[1] ?? '', 'base64url').toString()))
})

t.test('token: says nothing to a reader that has left', async t => {
  const token = `${process.execPath} ${join(root, 'scripts/token.ts')} --sub ci`
  // The pipe has no reader any more when the token is written.
  const { stderr } = await run('bash', ['-c', `set -o pipefail; (${token}; echo "code $?" >&2) | true`], { cwd: t.testdir() })
  t.equal(stderr, 'code 0\n')
})

t.test('token: names the wrong option or variable', async t => {
  const cwd = t.testdir()
  t.match(await script('token.ts', [], cwd), {
    code: 1, stderr: /^--sub: is missing; for instance: npm run --silent token -- --sub me --scope "jobs:read jobs:write"\n$/
  })
  t.match(await script('token.ts', ['--sub', 'a', '--expires', 'x'], cwd), { code: 1, stderr: /--expires/ })
  const withPublicKey = await script('token.ts', ['--sub', 'a'], cwd, { JWKS_URL: 'https://example.com/keys' })
  t.match(withPublicKey, { code: 1, stderr: /public key/ })
})

t.test('migrate: creates the table that engines write to, and lists the applied migrations', async t => {
  const cwd = t.testdir()
  const env = { DATABASE_URL: 'sqlite:data/jobs.db', JWT_SECRET: 'x'.repeat(32) }
  t.match(await script('migrate.ts', [], cwd, env), { code: 0, stdout: /applied 0001-job-execution-log/ })
  t.match(await script('migrate.ts', [], cwd, env), { code: 0, stdout: /up to date/ })
  await sqlite3(join(cwd, 'data/jobs.db'), "INSERT INTO JobExecutionLog (jobId, status) VALUES ('job-123', 'Queued')")
  const wrong = await script('migrate.ts', [], cwd, { ...env, DATABASE_URL: 'mysql://x' })
  t.match(wrong, { code: 1, stderr: /^DATABASE_URL: / })
})

t.test('test: counts the tests, shows the diff of a failure, and fails if a file crashes, at once or by a stray error', async t => {
  const cwd = t.testdir({
    'good.test.ts': "import t from 'tap'\nt.test('outer', t => t.test('good', async t => { t.ok(1); t.ok(2) }))",
    'bad.test.ts': "import t from 'tap'\nt.test('good', async t => t.ok(1))\nt.test('bad', async t => t.equal(1, 2))",
    'crash.test.ts': "import './no-such-file.ts'",
    'stray.test.ts': "import t from 'tap'\nt.test('stray', async t => {\nt.ok(1)\nsetTimeout(() => { throw new Error('from a callback') })\nawait new Promise(resolve => { setTimeout(resolve, 60_000) })\n})"
  })
  const test = async (...names: string[]) => {
    const { code, stdout } = await script('test.ts', names.map(name => join(cwd, `${name}.test.ts`)), root, uncovered)
    return { code, stdout, last: stdout.trimEnd().split('\n').at(-1) }
  }
  t.match(await test('good', 'bad'), { code: 1, stdout: /bad[^]*-2\n *\+1/, last: '2 passed, 1 failed' })
  t.match(await test('good', 'crash'), { code: 1, stdout: /Cannot find module[^]*FAIL/, last: '1 passed, 1 failed' })
  const stray = await test('good', 'stray')
  t.match(stray, { code: 1, stdout: /Error: from a callback[^]*FAIL/, last: '1 passed, 1 failed' }, 'ends its file')
  t.match(await test('good'), { code: 0, last: '1 passed, 0 failed' })
})

t.test('openapi: prints the document', async t => {
  const { code, stdout } = await script('openapi.ts', [], t.testdir())
  t.equal(code, 0)
  t.match(JSON.parse(stdout), {
    openapi: /^3\.0\./, paths: { '/api/v1/jobs/{jobId}': { get: { operationId: 'getJobStatus' } } }
  })
})

t.test('audit: fails on a vulnerability of moderate severity, and passes if the registry does not answer', async t => {
  const advisories = (severity: string) => ({
    fastify: [{
      id: severity,
      url: 'https://example.org',
      title: 'bad',
      severity,
      vulnerable_versions: '*',
      cwe: [],
      cvss: { score: 0, vectorString: null }
    }]
  })
  let status = 200
  let found: object = {}
  const registry = createServer((request, response) => {
    const package_ = { name: 'fastify', 'dist-tags': {}, versions: { '5.0.0': { name: 'fastify', version: '5.0.0' } } }
    response.writeHead(status, { 'content-type': 'application/json' })
    response.end(JSON.stringify(request.method === 'GET' ? package_ : found))
  }).listen(0, '127.0.0.1')
  t.teardown(() => registry.close())
  await once(registry, 'listening')
  const { port } = registry.address() as AddressInfo
  const cache = t.testdir()
  const audit = async () => await script('audit.ts', [], root, {
    ...uncovered, npm_config_registry: `http://127.0.0.1:${port}`, npm_config_cache: cache, npm_config_fetch_retries: '0'
  })
  t.match(await audit(), { code: 0, stdout: /^found 0 vulnerabilities/ })
  found = advisories('low')
  t.match(await audit(), { code: 0, stdout: /1 low severity vulnerability/ })
  found = advisories('moderate')
  t.match(await audit(), { code: 1, stdout: /fastify[^]*Severity: moderate[^]*1 moderate severity vulnerability/ })
  status = 405
  t.match(await audit(), { code: 0, stdout: /^audit: skipped, the registry did not answer: .*405/ })
})
