import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { hasLogged } from './helpers/log-lines.ts'
import { startRedis } from './helpers/redis.ts'
import { spawnService } from './helpers/service.ts'
import { bearer, secret } from './helpers/tokens.ts'
import { until } from './helpers/until.ts'
import { openForeign, openStore } from './store/open.ts'

const run = promisify(execFile)

const failure = async (env: Record<string, string>, main = 'src/main.ts'): Promise<{ code: number, stderr: string }> =>
  await run(process.execPath, [main], { env: { ...process.env, JWT_SECRET: secret, PORT: '0', ...env } }).then(
    () => ({ code: 0, stderr: '' }),
    (error: { code: number, stderr: string }) => ({ code: error.code, stderr: error.stderr })
  )

t.test('prints what it runs on, where its page is, and how to get a token', async t => {
  const service = await spawnService(t, { LOG_LEVEL: 'info' })
  const text = await until(() => service.lines.join('\n').includes('a token') && service.lines.join('\n'))
  for (const words of [
    service.url, `sqlite (${service.databasePath})`, 'memory', 'workers        1', `${service.url}/ui`,
    `${service.url}/docs`, 'npm run --silent token -- --sub me --scope "jobs:read jobs:write jobs:admin"'
  ]) {
    t.ok(text.includes(words), words)
  }
})

t.test('in production it reports that in its log alone', async t => {
  const service = await spawnService(t, { NODE_ENV: 'production' })
  await hasLogged(service, '"msg":"ready"')
  t.equal((await service.kill('SIGTERM')).code, 0)
  for (const line of service.lines) t.type(JSON.parse(line), 'object')
  const warnings = service.lines.filter(line => line.includes('PUBLIC_URL'))
  t.equal(warnings.length, 1, 'absolute URLs then come from the Host header, which the client chooses')
  t.match(JSON.parse(warnings[0] ?? ''), { level: 40 })
})

t.test('with PUBLIC_URL it warns of nothing', async t => {
  const service = await spawnService(t, { NODE_ENV: 'production', PUBLIC_URL: 'https://jobs.example.org' })
  await hasLogged(service, '"msg":"ready"')
  t.same(service.lines.filter(line => (JSON.parse(line) as { level: number }).level >= 40), [])
})

t.test('SIGTERM, once or twice: finishes what is in flight, exits with 0', async t => {
  for (const times of [1, 2]) {
    const service = await spawnService(t, { WORKERS: '0', ...(times === 2 ? { DRAIN_DELAY_SECONDS: '4' } : {}) })
    // A request whose second half comes after the signal.
    const { port } = new URL(service.url)
    const socket = connect(Number(port), '127.0.0.1')
    await once(socket, 'connect')
    let answer = ''
    socket.on('data', data => { answer += String(data) })
    const body = '{"type":"remote","input":{}}'
    const { authorization } = bearer()
    socket.write(
      `POST /api/v1/jobs HTTP/1.1\r\nhost: x\r\nauthorization: ${authorization}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body.slice(0, 5)}`
    )
    await service.ask('/livez')
    const exit = once(service.process, 'exit')
    service.process.kill('SIGTERM')
    await hasLogged(service, '"msg":"draining"')
    if (times === 2) {
      // One that follows at once may be delivered together with the first.
      service.process.kill('SIGTERM')
      t.equal((await service.ask('/readyz')).status, 503, 'answered during the delay')
    }
    socket.write(body.slice(5))
    t.same(await exit, [0, null])
    await until(() => socket.closed || socket.readyState === 'closed')
    t.match(answer, /^HTTP\/1.1 202 /)
    t.match(answer, /connection: close/i)
    t.equal(service.lines.filter(line => line.includes('"msg":"draining"')).length, 1)
    t.equal(await service.sql('SELECT count(*) FROM JobExecutionLog'), '1')
  }
})

t.test('a start that fails costs no job an attempt', async t => {
  const first = await spawnService(t, { WORKERS: '0' })
  const jobId = await first.submit('sanitize', { content: 'a', contentType: 'text/plain' })
  await first.sql(`UPDATE JobQueue SET maxAttempts = 1 WHERE jobId = '${jobId}'`)
  await first.kill('SIGTERM')
  const other = await spawnService(t, { WORKERS: '0' }, join(t.testdirName, 'other.db'))
  const { port } = new URL(other.url)
  for (let i = 0; i < 2; i++) {
    t.same(await failure({ PORT: port, DATABASE_URL: `sqlite:${first.databasePath}` }), {
      code: 1,
      stderr: `PORT: cannot listen: listen EADDRINUSE: address already in use 127.0.0.1:${port}; ` +
        'set PORT to one that is free, or 0 for any\n'
    })
  }
  const second = await spawnService(t, {}, first.databasePath)
  t.match(await second.finished(jobId), { status: 'Succeeded' })
})

t.test('SIGTERM during the start ends the process with 0', async t => {
  const child = spawn(process.execPath, ['src/main.ts'], {
    env: {
      ...process.env,
      JWT_SECRET: secret,
      PORT: '0',
      DATABASE_URL: `sqlite:${join(t.testdir(), 'jobs.db')}`,
      LOG_LEVEL: 'trace'
    },
    stdio: ['ignore', 'pipe', 'inherit']
  })
  // The lock is taken in the middle of the start.
  await until(() => existsSync(join(t.testdirName, 'jobs.db.lock')))
  const exit = once(child, 'exit')
  child.kill('SIGTERM')
  t.same(await exit, [0, null])
})

t.test('a service whose log nobody reads any more ends at SIGTERM', async t => {
  const service = await spawnService(t, { LOG_LEVEL: 'info' })
  await hasLogged(service, 'a token')
  service.process.stdout?.destroy()
  t.same(await service.kill('SIGTERM'), { code: 0, signal: null })
})

t.test('a client that stopped reading its response does not keep the process alive', async t => {
  const service = await spawnService(t, { WORKERS: '0' })
  const socket = connect(Number(new URL(service.url).port), '127.0.0.1')
  await once(socket, 'connect')
  // More requests for a large file than socket buffers can hold the answers of.
  socket.write('GET /docs/static/swagger-ui-bundle.js HTTP/1.1\r\nhost: x\r\n\r\n'.repeat(20))
  await once(socket, 'readable')
  t.same(await service.kill('SIGTERM'), { code: 0, signal: null })
  socket.destroy()
})

t.test('a job that is running at SIGTERM ends, or goes back to the queue: no lease is left behind', async t => {
  const service = await spawnService(t)
  await service.sql(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)
    INSERT INTO JobExecutionLog (jobId, status) SELECT 'row-' || i, 'Running' FROM n`)
  // One of them may be over before it is seen to run.
  for (let job = 0; job < 20; job++) await service.submit('report', {})
  await until(async () => (await service.askJson('/api/v1/jobs?type=report&status=Running')).items.length > 0)
  t.equal((await service.kill('SIGTERM')).code, 0)
  const counts = await service.sql(`SELECT count(*) FROM JobExecutionLog WHERE type = 'report' AND status IN ('Queued', 'Succeeded');
    SELECT count(*) FROM JobQueue WHERE leaseToken IS NOT NULL`)
  t.equal(counts, '20\n0')
})

t.test('npm start ends with 0 when npm alone gets the signal, and when the whole group does', async t => {
  for (const whom of ['npm', 'group'] as const) {
    const child = spawn('npm', ['start'], {
      detached: true,
      env: { ...process.env, PORT: '0', JWT_SECRET: secret, DATABASE_URL: `sqlite:${join(t.testdir(), `${whom}.db`)}` },
      stdio: ['ignore', 'pipe', 'pipe']
    })
    let output = ''
    child.stdout.on('data', data => { output += String(data) })
    child.stderr.on('data', data => { output += String(data) })
    const exit = once(child, 'exit')
    await until(() => output.includes('"msg":"ready"'), 'the start', 30_000)
    const { pid = 0 } = child
    process.kill(whom === 'npm' ? pid : -pid, 'SIGTERM')
    t.same(await exit, [0, null], whom)
    t.throws(() => process.kill(-pid, 0), 'no process is left')
  }
})

t.test('bad values stop the start, every problem on a line of its own', async t => {
  const { code, stderr } = await failure({
    PORT: 'x', DATABASE_URL: 'mysql://localhost/jobs', JWT_SECRET: 'short', WORKERS: '-1'
  })
  t.equal(code, 1)
  t.same(stderr.trim().split('\n').map(line => line.split(':')[0]).sort(), [
    'DATABASE_URL', 'JWT_SECRET', 'PORT', 'WORKERS'
  ])
  t.match(stderr, /DATABASE_URL: must be sqlite:PATH, .* postgres:\/\//)
})

t.test('a second service process on one database does not start until the first has ended', async t => {
  const first = await spawnService(t, { WORKERS: '0' })
  const { code, stderr } = await failure({ DATABASE_URL: `sqlite:${first.databasePath}` })
  t.equal(code, 1)
  t.match(stderr, /^another service process is using .*jobs\.db/)
  t.equal(stderr.trim().split('\n').length, 1)
  await first.kill('SIGKILL')
  const second = await spawnService(t, { WORKERS: '0' }, first.databasePath)
  t.equal((await second.ask('/readyz')).status, 200)
})

t.test('processes that share a Redis share a database; one without Redis does not start beside them, nor they beside it', async t => {
  const redis = await startRedis(t)
  const inMemory = { WORKERS: '0' }
  const inRedis = { WORKERS: '0', REDIS_URL: redis.url }
  const first = await spawnService(t, inRedis)
  const second = await spawnService(t, inRedis, first.databasePath)
  const jobId = await first.submit('remote', {})
  t.equal((await second.ask(`/api/v1/jobs/${jobId}`)).status, 200)
  const other = await spawnService(t, inMemory, `${first.databasePath}.other`)
  for (const [env, { databasePath }] of [[inMemory, first], [inRedis, other]] as const) {
    const { code, stderr } = await failure({ ...env, DATABASE_URL: `sqlite:${databasePath}` })
    t.equal(code, 1)
    t.match(stderr, /^another service process is using .*REDIS_URL/)
    t.equal(stderr.trim().split('\n').length, 1)
  }
})

t.test('a database that cannot be used is named, in one line', async t => {
  const directory = t.testdir({
    'notes.txt': 'these are notes, not a database, however long they go on'.repeat(20), file: ''
  })
  for (const path of [join(directory, 'notes.txt'), join(directory, 'file', 'jobs.db'), directory]) {
    const { code, stderr } = await failure({ DATABASE_URL: `sqlite:${path}` })
    t.equal(code, 1)
    t.equal(stderr.trim().split('\n').length, 1)
    t.ok(stderr.startsWith(`DATABASE_URL: cannot use ${path}: `), stderr)
  }
})

t.test('a database that another program locks, from the beginning or since its migration, is named in one line', async t => {
  const redis = await startRedis(t)
  const directory = t.testdir()
  const locked = await openStore(t, join(directory, 'locked.db'))
  openForeign(t, locked.path).exec('BEGIN IMMEDIATE')
  const starts = [
    { databasePath: locked.path, main: 'src/main.ts' },
    { databasePath: join(directory, 'later.db'), main: 'test/helpers/locked-start.ts' }
  ]
  await Promise.all(starts.map(async ({ databasePath, main }) => {
    t.same(await failure({ DATABASE_URL: `sqlite:${databasePath}`, REDIS_URL: redis.url }, main), {
      code: 1,
      stderr: `DATABASE_URL: cannot use ${databasePath}: another program keeps it locked (database is locked)\n`
    })
  }))
})

t.test('a database whose state of the service cannot be read is named, in one line', async t => {
  const { path: databasePath } = await openStore(t)
  const foreign = openForeign(t, databasePath)
  for (const [damage, reason] of [
    ['DELETE FROM ServiceState', 'ServiceState has no incarnation'],
    ['DROP TABLE ServiceState', 'no such table: ServiceState']
  ] as const) {
    foreign.exec(damage)
    t.same(await failure({ DATABASE_URL: `sqlite:${databasePath}` }), {
      code: 1,
      stderr: `DATABASE_URL: cannot use ${databasePath}: ${reason}\n`
    })
  }
})

t.test('a port in use is named', async t => {
  const first = await spawnService(t, { WORKERS: '0' })
  const { port } = new URL(first.url)
  const { code, stderr } = await failure({ PORT: port, DATABASE_URL: `sqlite:${join(t.testdir(), 'other.db')}` })
  t.equal(code, 1)
  t.match(stderr, /^PORT: .*EADDRINUSE/)
  for (const host of ['192.0.2.1', 'fe80::1']) {
    t.match(await failure({ HOST: host, DATABASE_URL: `sqlite:${join(t.testdir(), 'other.db')}` }), {
      code: 1, stderr: /^HOST: .*(EADDRNOTAVAIL|EINVAL).*\n$/
    })
  }
})
