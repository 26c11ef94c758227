import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { loadConfig } from '../../src/config/config.ts'
import { ConfigError } from '../../src/config/problems.ts'
import { isNamed } from '../../src/job/callbacks/allowed-hosts.ts'

const run = promisify(execFile)
const secretOf = (bytes: number): string => `whsec_${Buffer.alloc(bytes, 7).toString('base64')}`
const load = (env: Record<string, string> = {}) =>
  loadConfig({ JWT_SECRET: 'x'.repeat(32), WEBHOOK_SECRET: secretOf(32), ...env })

const problemsOf = (env: Record<string, string>): readonly string[] => {
  try {
    load(env)
    return []
  } catch (error) {
    if (error instanceof ConfigError) return error.problems
    throw error
  }
}

t.test('several keys sign, separated by blanks', async t => {
  t.same(load({ WEBHOOK_SECRET: ` ${secretOf(24)}  ${secretOf(64)}\n` }).webhookSecrets, [secretOf(24), secretOf(64)])
})

t.test('a key of another form stops the start, and is not repeated', async t => {
  const bad = [
    secretOf(23), secretOf(65), secretOf(32).slice(6), 'whsec_', ' ', `${secretOf(32)},${secretOf(32)}`,
    `${secretOf(32)} p@ssword`, 'whsec_'.concat('_'.repeat(44))
  ]
  for (const value of bad) {
    const problems = problemsOf({ WEBHOOK_SECRET: value })
    t.equal(problems.length, 1, value)
    t.match(problems[0], /^WEBHOOK_SECRET: must be whsec_ and the Base64 of 24 to 64 bytes, or several/)
    t.notMatch(problems[0], 'p@ssword')
  }
})

t.test('in production there may be none', async t => {
  t.same(loadConfig({ NODE_ENV: 'production', JWT_SECRET: 'x'.repeat(32) }).webhookSecrets, [])
})

t.test('hosts, ports and ranges are allowed', async t => {
  const { callbackHostsAllowed: allowed } =
    load({ CALLBACK_HOSTS_ALLOWED: 'N8N.internal:5678, b\u00fccher.example,10.0.0.0/8,[::1]:80,fd00::/8,::2,127.0.0.1' })
  t.equal(allowed.length, 7)
  t.ok(Object.isFrozen(allowed))
  t.ok(isNamed(allowed, 'n8n.internal', 5678))
  t.notOk(isNamed(allowed, 'n8n.internal', 443))
  t.ok(isNamed(allowed, 'xn--bcher-kva.example', 443))
  t.same(load().callbackHostsAllowed, [])
})

t.test('what names no host stops the start', async t => {
  for (const value of ['a,,b', 'http://a', 'a:0', 'a:65536', 'a:b', 'a/b', '10.0.0.0/33', '010.0.0.0/8', 'u@a', '[::1', '10/8', '*']) {
    const problems = problemsOf({ CALLBACK_HOSTS_ALLOWED: value })
    t.match(problems, [/^CALLBACK_HOSTS_ALLOWED: must be a list of hosts, host:port and CIDR/], value)
  }
})

const script = `
  import { loadConfig } from ${JSON.stringify(join(import.meta.dirname, '../../src/config/config.ts'))}
  process.stdout.write(loadConfig().webhookSecrets.join(' '))`

t.test('outside production a missing key is created once, readable by its owner alone', async t => {
  const cwd = t.testdir()
  const start = async (env: Record<string, string> = {}) =>
    (await run(process.execPath, ['--input-type=module', '-e', script], {
      cwd, env: { PATH: process.env.PATH, JWT_SECRET: 'x'.repeat(32), ...env }
    })).stdout
  const path = join(cwd, 'data/webhook-secret')
  await t.rejects(start({ PORT: 'x' }), /PORT/)
  t.equal(await start({ NODE_ENV: 'production' }), '')
  t.equal(await start({ WEBHOOK_SECRET: secretOf(32) }), secretOf(32))
  t.notOk(existsSync(path), 'none of these creates one')
  const [first, second] = await Promise.all([start(), start()])
  t.match(first, /^whsec_[A-Za-z0-9+/]{43}=$/)
  t.equal(second, first, 'two starts at once agree')
  t.equal(statSync(path).mode & 0o777, 0o600)
  t.equal(readFileSync(path, 'utf8').trim(), first)
  writeFileSync(path, 'abc')
  await t.rejects(start(), /WEBHOOK_SECRET: is unset, and data\/webhook-secret holds no whsec_/)
})

t.test('a key that cannot be created stops the start with a line', async t => {
  const cwd = t.testdir()
  // A folder in the place of the file.
  mkdirSync(join(cwd, 'data/webhook-secret'), { recursive: true })
  await t.rejects(run(process.execPath, ['--input-type=module', '-e', script], {
    cwd, env: { PATH: process.env.PATH, JWT_SECRET: 'x'.repeat(32) }
  }), /WEBHOOK_SECRET: is unset, and data\/webhook-secret cannot be made: EISDIR/)
})
