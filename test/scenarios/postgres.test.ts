import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { createWorkerClient, jsonOf, workerClaims } from '../helpers/client.ts'
import { hasLogged } from '../helpers/log-lines.ts'
import { startPostgres } from '../helpers/postgres.ts'
import { createDatabaseSql } from '../helpers/postgres-server.ts'
import { startReceiver } from '../helpers/receiver.ts'
import { startRedis } from '../helpers/redis.ts'
import { spawnService } from '../helpers/service.ts'
import { secret } from '../helpers/tokens.ts'
import { until, untilWithin } from '../helpers/until.ts'

// Processes and commands on one Postgres. test/postgres runs the tests of single processes on it.

// As docs/guarantees.md says.
const recoveryMs = 5000

const run = promisify(execFile)
const postgres = await startPostgres(t)

/** Runs one of the programs that an operator starts. */
const operate = async (file: string, args: string[], env: Record<string, string>) =>
  await run(process.execPath, [file, ...args], { env: { ...process.env, PORT: '0', ...env } }).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    ({ code, stdout, stderr }: { code: number, stdout: string, stderr: string }) => ({ code, stdout, stderr })
  )

t.test('processes share the keys that the first one made, and each returns the jobs that another accepted', async t => {
  const redis = await startRedis(t)
  const env = {
    DATABASE_URL: await postgres.createDatabase(t), REDIS_URL: redis.url, JWT_SECRET: '', WEBHOOK_SECRET: '', WORKERS: '1'
  }
  const processes = await Promise.all([1, 2].map(() => spawnService(t, env)))
  const { stdout } = await operate('scripts/token.ts', ['--sub', 'me', '--scope', 'jobs:read jobs:write'], env)
  const headers = { authorization: `Bearer ${stdout.trim()}`, 'content-type': 'application/json' }
  const [first, second] = processes.map(({ url }) => url)
  const body = JSON.stringify({ type: 'report', input: { format: 'json' } })
  const accepted = await fetch(`${first}/api/v1/jobs?wait=50`, { method: 'POST', headers, body })
  t.equal(accepted.status, 202)
  const { jobId, status } = await jsonOf(accepted)
  t.equal(status, 'Succeeded', 'a worker of one of them ran it')
  const seen = await fetch(`${second}/api/v1/jobs/${jobId}`, { headers })
  t.match(await jsonOf(seen), { jobId, status: 'Succeeded' })
  t.equal((await fetch(`${second}/api/v1/jobs/${jobId}/result`, { headers })).status, 200)
})

t.test('a process without Redis is alone on its database, and a killed one does not prevent a start', async t => {
  const DATABASE_URL = await postgres.createDatabase(t)
  const redis = await startRedis(t)
  const env = { DATABASE_URL, WORKERS: '0' }
  const first = await spawnService(t, env)
  for (const REDIS_URL of ['', redis.url]) {
    const { code, stderr } = await operate('src/main.ts', [], { ...env, REDIS_URL, JWT_SECRET: secret })
    t.equal(code, 1)
    t.match(stderr, /^another service process is using postgres:.*REDIS_URL/)
  }
  await first.kill('SIGKILL')
  const second = await spawnService(t, env)
  const isOn = async () => (await jsonOf(second.ask('/readyz'))).cache.mode === 'on'
  t.ok(await until(isOn, 'the cache to be used'))
})

const testWrongClock = async (t: Test, aheadMs: number) => {
  const redis = await startRedis(t)
  const receiver = await startReceiver(t)
  const env = {
    DATABASE_URL: await postgres.createDatabase(t), REDIS_URL: redis.url, WORKERS: '0', CALLBACK_HOSTS_ALLOWED: '127.0.0.1'
  }
  const right = await spawnService(t, env)
  const claims = workerClaims
  const callbackUrl = `${receiver.url}/`
  const { jobId } = await jsonOf(right.ask('/api/v1/jobs', {
    method: 'POST', claims, body: { type: 'held', input: null, callbackUrl }
  }))
  await right.submit('lost', null, { claims })
  const { leaseToken } = await createWorkerClient(right).claimed('held', { leaseSeconds: 300 })
  await createWorkerClient(right).claimed('lost', { leaseSeconds: 1 })
  await right.kill('SIGKILL')
  const skewed = { ...env, CLOCK_AHEAD_MS: String(aheadMs) }
  const wrong = await spawnService(t, skewed, undefined, 'test/helpers/wrong-clock.ts')
  const worker = createWorkerClient(wrong)
  t.match(await until(async () => {
    const answer = await worker.claim({ types: ['lost'], wait: 5 })
    return answer.status === 200 && await jsonOf(answer)
  }, 'the lost job to be queued again'), { attempt: 2 })
  t.equal((await worker.report(jobId, 'progress', leaseToken, {})).status, 200, 'the lease of the other job is kept')
  t.equal((await worker.report(jobId, 'complete', leaseToken, { result: 1 })).status, 200)
  await receiver.arrived(1)
  const { endTime } = await jsonOf(wrong.ask(`/api/v1/jobs/${jobId}`, { claims }))
  t.ok(Math.abs(Date.parse(endTime) - Date.now()) < 60_000 * 5, "times are of the database's clock")
}

t.test('a process whose clock is ahead takes no lease of another', async t => { await testWrongClock(t, 600_000) })

t.test('a process whose clock is behind makes no callback late', async t => { await testWrongClock(t, -600_000) })

/**
 * Puts a copy of a database in its place, as a restored dump would look from outside. `change`: statements for the copy.
 * Returns what drops the old one.
 */
const replaceDatabase = async (url: string, change = '') => {
  const name = new URL(url).pathname.slice(1)
  const [old, next] = [`${name}_old`, `${name}_next`]
  // Sessions keep a database from being copied and renamed.
  await postgres.sql(`ALTER DATABASE ${name} ALLOW_CONNECTIONS false`)
  await postgres.sql(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '${name}'`)
  await postgres.sql(`ALTER DATABASE ${name} RENAME TO ${old}`)
  await postgres.sql(createDatabaseSql(next, old))
  await postgres.sql(change, next)
  await postgres.sql(`ALTER DATABASE ${next} RENAME TO ${name}`)
  return async () => { await postgres.sql(`DROP DATABASE ${old}`) }
}

t.test('a database that takes the place of another is opened again, with a new incarnation and without an exit', async t => {
  const DATABASE_URL = await postgres.createDatabase(t)
  const service = await spawnService(t, { DATABASE_URL, WORKERS: '0' })
  const jobId = await service.submit('remote', {})
  const tagOf = async () => (await service.ask(`/api/v1/jobs/${jobId}`)).headers.get('etag')
  const tag = await tagOf()
  t.ok(tag)
  const dropOld = await replaceDatabase(DATABASE_URL)
  t.ok(await untilWithin(recoveryMs, async () => ![null, tag].includes(await tagOf()), 'another tag of the same job'))
  t.equal(service.process.exitCode, null)
  t.ok(await hasLogged(service, 'another database has taken the place'), 'and the log says so')
  await hasLogged(service, 'its incarnation was renewed')
  const renewals = service.lines.filter(line => line.includes('its incarnation was renewed')).map(line => JSON.parse(line))
  t.match(renewals, [{ level: 40 }], 'and once what it did')
  t.equal(renewals.length, 1)
  t.ok(await service.submit('remote', {}))
  t.equal((await service.kill('SIGTERM')).code, 0, 'and it drains as ever')
  await dropOld()
})

for (const { what, change, reason } of [
  {
    what: 'that a newer release has migrated',
    change: "INSERT INTO kysely_migration (name, timestamp) VALUES ('9999-newer', '2030-01-01')",
    reason: 'a newer release of the service has migrated it'
  },
  {
    what: 'without a trigger of the service',
    change: 'DROP TRIGGER zz_updated ON JobExecutionLog',
    reason: 'the trigger zz_updated of JobExecutionLog is missing'
  }
]) {
  t.test(`a database ${what} that takes the place of another ends the process with one line`, async t => {
    const DATABASE_URL = await postgres.createDatabase(t)
    const service = await spawnService(t, { DATABASE_URL, WORKERS: '1' })
    const jobId = await service.submit('remote', {})
    const poll = () => service.ask(`/api/v1/jobs/${jobId}`)
    t.equal((await poll()).status, 200)
    const dropOld = await replaceDatabase(DATABASE_URL, change)
    t.ok(await until(() => service.process.exitCode !== null && service.errors.length > 0, 'the end of the process'))
    t.equal(service.process.exitCode, 1)
    t.same(service.errors, [`DATABASE_URL: cannot use ${DATABASE_URL.replace('postgres@', '')}: ${reason}`])
    t.notOk(service.lines.some(line => line.startsWith('{') && JSON.parse(line).level >= 50), 'and no error in the log')
    await dropOld()
  })
}

t.test('an operator renews the incarnation under a running process, which opens the database again', async t => {
  const DATABASE_URL = await postgres.createDatabase(t)
  const service = await spawnService(t, { DATABASE_URL, WORKERS: '0' })
  const worker = createWorkerClient(service)
  const jobId = await service.submit('remote', {}, { claims: workerClaims })
  const { leaseToken } = await worker.claimed('remote', { leaseSeconds: 600 })
  const read = async (tag?: string) => {
    const answer = await service.ask(`/api/v1/jobs/${jobId}`, tag === undefined ? {} : { headers: { 'if-none-match': tag } })
    return { status: answer.status, tag: answer.headers.get('etag') }
  }
  const { tag } = await read()
  t.ok(tag)
  t.match(await operate('scripts/renew-incarnation.ts', [], { DATABASE_URL, JWT_SECRET: secret }), {
    code: 0, stderr: '', stdout: /^postgres:.*: has a new incarnation; [^\n]*\n$/
  })
  const isNew = async () => ![null, tag].includes((await read().catch(() => ({ tag: null }))).tag)
  t.ok(await untilWithin(recoveryMs, isNew, 'another tag of the same job'))
  t.equal((await read(tag ?? '')).status, 200, 'the old one matches nothing')
  t.equal(service.process.exitCode, null)
  t.ok(await hasLogged(service, 'another database has taken the place'), 'and the log says so')
  t.equal((await worker.report(jobId, 'complete', leaseToken)).status, 200, 'leases go on')
})

t.test('operators migrate with the same command, and are told what makes backups', async t => {
  const env = { DATABASE_URL: await postgres.createDatabase(t), JWT_SECRET: secret }
  const name = env.DATABASE_URL.replace('postgres@', '')
  t.match(await operate('scripts/migrate.ts', [], env), { code: 0, stdout: `${name}: up to date\n` })
  const copy = await postgres.createDatabase(t, new URL(env.DATABASE_URL).pathname.slice(1))
  const restored = await operate('scripts/migrate.ts', [], { ...env, DATABASE_URL: copy })
  t.match(restored, { code: 0, stderr: /^the database is not the one of the last start, [^\n]*\n$/ }, 'or that it was restored')
  t.match(await operate('scripts/backup.ts', ['a.db'], env), { code: 1, stderr: /cannot use postgres:.* pg_dump/ })
  t.match(await operate('scripts/restore.ts', ['a.db'], env), { code: 1, stderr: /cannot use postgres:.* pg_restore/ })
})
