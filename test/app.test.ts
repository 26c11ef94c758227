import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { connect } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import t from 'tap'
import { createApp } from '../src/app.ts'
import { loadConfig } from '../src/config/config.ts'
import { createLifecycle } from '../src/serve/lifecycle.ts'
import { createCommit } from '../src/write/commit.ts'
import { openStore } from '../src/store/open/open-store.ts'
import { createClient, createWorkerClient } from './helpers/client.ts'
import { sqlite3 } from './helpers/databases.ts'
import { startRedis } from './helpers/redis.ts'
import { startService } from './helpers/service.ts'
import { bearer, secret } from './helpers/tokens.ts'

t.test('slow clients are bounded: headers by Node, bodies by the routes, since an upload may take long', async t => {
  const { app } = await startService(t, { WORKERS: '0' })
  t.match(app.server.server, { requestTimeout: 0, headersTimeout: 5000 })
})

t.test('a body that does not come is 408, and its connection is closed', async t => {
  const { url } = await startService(t, { WORKERS: '0' })
  const { authorization } = bearer()
  const socket = connect(Number(new URL(url).port), '127.0.0.1')
  socket.write(
    `POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: ${authorization}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n`
  )
  const answer = await text(socket)
  t.match(answer, /^HTTP\/1\.1 408 /)
})

t.test('the thread of a first job starts before the job is committed', async t => {
  const { promise: started, resolve } = Promise.withResolvers<unknown>()
  subscribe('worker_threads', resolve)
  t.teardown(() => unsubscribe('worker_threads', resolve))
  const config = loadConfig({
    DATABASE_URL: `sqlite:${join(t.testdir(), 'jobs.db')}`, JWT_SECRET: secret, LOG_LEVEL: 'silent'
  })
  const app = await createApp(config, {
    parts: {
      createCommit: needs => {
        const commit = createCommit(needs)
        return async (work, group) => {
          await started
          return await commit(work, group)
        }
      }
    }
  })
  const { listen, drain } = createLifecycle(app)
  t.teardown(() => drain())
  const { submit, finished } = createClient(await listen('127.0.0.1', 0))
  t.match(await finished(await submit('sanitize', { content: 'a', contentType: 'text/plain' })), { status: 'Succeeded' })
})

t.test('a drain while the start is still under way leaves nothing running, and costs no job an attempt', async t => {
  const path = join(t.testdir(), 'jobs.db')
  const first = await startService(t, { WORKERS: '0' }, path)
  const jobId = await first.submit('sanitize', { content: 'a', contentType: 'text/plain' })
  await first.stop()
  const app = await createApp(loadConfig({
    DATABASE_URL: `sqlite:${path}`, JWT_SECRET: 'x'.repeat(32), PORT: '0', LOG_LEVEL: 'silent'
  }))
  const { listen, drain } = createLifecycle(app)
  const listening = listen('127.0.0.1', 0)
  await drain()
  await t.rejects(fetch(`${await listening}/livez`))
  t.equal(await sqlite3(path, `SELECT status || attempt FROM JobExecutionLog WHERE jobId = '${jobId}'`), 'Queued0')
})

t.test('with a drain delay it is not ready and answers everything until the delay is over, and no claim waits', async t => {
  const app = await createApp(loadConfig({
    DATABASE_URL: `sqlite:${join(t.testdir(), 'jobs.db')}`, JWT_SECRET: secret, LOG_LEVEL: 'silent', WORKERS: '0'
  }))
  const { promise: isOver, resolve: end } = Promise.withResolvers<void>()
  const pauses: number[] = []
  const { listen, drain } = createLifecycle(app, {
    drainDelayMs: 5000,
    pause: ms => {
      pauses.push(ms)
      return isOver
    }
  })
  const service = createClient(await listen('127.0.0.1', 0))
  const worker = createWorkerClient(service)
  const waiting = worker.claim({ types: ['a'], wait: 55 })
  await worker.claim({ types: ['a'] })
  const drained = drain()
  t.equal((await waiting).status, 204)
  const ready = await service.ask('/readyz')
  t.equal(ready.status, 503)
  t.match(await ready.json(), { status: 'draining' })
  t.equal((await worker.claim({ types: ['b'], wait: 55 })).status, 204)
  const jobId = await service.submit('b', 1)
  t.match(await worker.claimed('b', { wait: 55 }), { jobId })
  const poll = await service.ask(`/api/v1/jobs/${jobId}`)
  t.same([poll.status, poll.headers.get('connection')], [200, 'close'])
  t.same(pauses, [5000])
  end()
  await drained
  await t.rejects(service.ask('/livez'))
})

t.test('a start that fails because the database is lost leaves no connection to Redis', async t => {
  const redis = await startRedis(t)
  const config = loadConfig({
    DATABASE_URL: `sqlite:${join(t.testdir(), 'jobs.db')}`, REDIS_URL: redis.url, JWT_SECRET: secret, LOG_LEVEL: 'silent'
  })
  const parts = {
    openStore: async (needs: Parameters<typeof openStore>[0]) => {
      const { store, ...opened } = await openStore(needs)
      const changes = { ...store.changes, follow: () => Promise.reject(new Error('lost')) }
      return { ...opened, store: { ...store, changes } }
    }
  }
  await t.rejects(createApp(config, { parts }), { message: 'lost' })
  const clients = String(await redis.client.call('CLIENT', 'LIST')).trim().split('\n')
  t.equal(clients.length, 1, 'that of this test')
})

t.test('listens on 127.0.0.1 for the name localhost', async t => {
  const app = await createApp(loadConfig({
    DATABASE_URL: `sqlite:${join(t.testdir(), 'jobs.db')}`, JWT_SECRET: 'x'.repeat(32), LOG_LEVEL: 'silent'
  }))
  const { listen, drain } = createLifecycle(app)
  t.teardown(drain)
  t.match(await listen('localhost', 0), /^http:\/\/127\.0\.0\.1:\d+$/)
})

t.test('a store that cannot be read: cached jobs are answered, all others are 503, never 404, until it is back', async t => {
  const service = await startService(t, { WORKERS: '0' })
  await service.sql("INSERT INTO JobExecutionLog (jobId, status) VALUES ('cached', 'Succeeded'), ('cold', 'Succeeded')")
  t.equal((await service.ask('/api/v1/jobs/cached')).status, 200)
  await service.sql('ALTER TABLE JobExecutionLog RENAME TO Elsewhere; ALTER TABLE ServiceState RENAME TO Away')

  t.equal((await service.ask('/api/v1/jobs/cached')).status, 200)
  for (const path of ['/api/v1/jobs/cold', '/api/v1/jobs/unknown', '/api/v1/jobs/cold/result']) {
    const answer = await service.ask(path)
    t.equal(answer.status, 503, path)
    t.ok(Number(answer.headers.get('retry-after')) >= 1)
    const text = await answer.text()
    t.match(JSON.parse(text), { code: 'STORE_UNAVAILABLE' })
    t.notMatch(text, /no such table|SQLITE/)
  }
  t.match(await service.askJson('/api/jobs/cold/status'), { success: false, error: { code: 'STORE_UNAVAILABLE' } })
  t.equal((await service.ask('/api/v1/jobs', { method: 'POST', body: { type: 'remote', input: {} } })).status, 503)
  const ready = await service.ask('/readyz')
  t.equal(ready.status, 503)
  t.match(await ready.json(), {
    status: 'unavailable', store: { kind: 'sqlite', status: 'down', reason: String, since: String }
  })
  t.equal((await service.ask('/livez')).status, 200)

  await service.sql('ALTER TABLE Elsewhere RENAME TO JobExecutionLog; ALTER TABLE Away RENAME TO ServiceState')
  t.equal((await service.ask('/api/v1/jobs/cold')).status, 200)
  t.equal((await service.ask('/api/v1/jobs/unknown')).status, 404)
  t.match(await service.askJson('/readyz'), { status: 'ready' })
  const version = await service.sql('SELECT max(version) FROM JobExecutionLog')
  await service.sql("INSERT INTO JobExecutionLog (jobId, status) VALUES ('later', 'Queued')")
  t.ok(Number(await service.sql('SELECT max(version) FROM JobExecutionLog')) > Number(version), 'its triggers too')
})

t.test('while another program holds the database, reads go on, and a write waits for it or is rejected in time', async t => {
  const service = await startService(t, { WORKERS: '0' })
  await service.sql("INSERT INTO JobExecutionLog (jobId, status) VALUES ('a', 'Running')")
  const { default: SqliteDatabase } = await import('better-sqlite3')
  const other = new SqliteDatabase(service.databasePath)
  t.teardown(() => { other.close() })
  const submit = async () => await service.ask('/api/v1/jobs', { method: 'POST', body: { type: 'remote', input: {} } })

  other.exec('BEGIN IMMEDIATE')
  const waiting = submit()
  for (let i = 0; i < 50; i++) {
    t.equal((await service.ask(`/api/v1/jobs/${i % 2 === 0 ? 'a' : `unknown-${i}`}`)).ok, i % 2 === 0)
  }
  other.exec('COMMIT')
  t.equal((await waiting).status, 202)

  other.exec('BEGIN IMMEDIATE')
  const rejected = await submit()
  t.equal(rejected.status, 503)
  t.ok(rejected.headers.has('retry-after'))
  other.exec('ROLLBACK')
  t.equal((await submit()).status, 202)
  t.equal(
    await service.sql("SELECT count(*) FROM JobExecutionLog WHERE type = 'remote'"), '2',
    'the rejected submission left nothing'
  )
})
