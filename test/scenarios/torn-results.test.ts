import { once } from 'node:events'
import { connect } from 'node:net'
import fastify from 'fastify'
import t, { type Test } from 'tap'
import { createMemoryCache } from '../../src/cache/memory-cache.ts'
import { sendFailure, toClientFailure } from '../../src/http/problem.ts'
import { resultRoutes } from '../../src/http/routes/results/result-routes.ts'
import { createStatusAccess } from '../../src/http/status-access.ts'
import { namedSchemas } from '../../src/http/openapi/schemas.ts'
import { createReadResult, type ReadBytes } from '../../src/status/details/read-result.ts'
import { createResultReader } from '../../src/store/sqlite/readers/result-reader.ts'
import { openParts } from '../helpers/parts.ts'
import { startService } from '../helpers/service.ts'
import { bearer } from '../helpers/tokens.ts'
import { until } from '../helpers/until.ts'

const chunks = 640
const sizeBytes = chunks * 65536

t.test('a result whose first bytes cannot be read is a failure, without the headers of the result', async t => {
  const service = await startService(t, { WORKERS: '0' })
  await service.sql(`INSERT INTO JobExecutionLog (jobId, status) VALUES ('empty', 'Succeeded');
    INSERT INTO JobResult (jobId, contentType, fileName, sizeBytes, sha256) VALUES ('empty', 'text/csv', 'big.csv', 10, 'AAAA')`)
  for (const target of ['/api/v1/jobs/empty/result', '/api/v1/jobs/empty/result?partial=true']) {
    for (const headers of [{}, { range: 'bytes=2-3' }]) {
      const answer = await service.ask(target, { headers })
      t.equal(answer.status, 500)
      for (const name of ['etag', 'repr-digest', 'content-disposition', 'content-range', 'job-result', 'expires']) {
        t.notOk(answer.headers.has(name), name)
      }
      t.match(await answer.json(), { code: 'INTERNAL' })
    }
  }
})

const fillChunks = `WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < ${chunks - 1})
  INSERT INTO JobResultChunk (jobId, startOffset, bytes) SELECT 'big', i * 65536, zeroblob(65536) FROM n`

const finished =
  `INSERT INTO JobExecutionLog (jobId, status, resultUrl) VALUES ('big', 'Succeeded', '/api/v1/jobs/big/result');
  INSERT INTO JobResult (jobId, contentType, fileName, sizeBytes, sha256) VALUES ('big', 'application/octet-stream', 'big.bin', ${sizeBytes}, 'AAAA');`

const running = `INSERT INTO JobExecutionLog (jobId, status, attempt) VALUES ('big', 'Running', 1);
  INSERT INTO JobQueue (jobId, type, maxAttempts, availableAt, leaseToken, leaseExpiresAt) VALUES ('big', 'x', 3, 0, 'l', 9e15);`

/** Asks, and stops reading at the first bytes of the answer. */
const beginReading = async (t: Test, service: { url: string }, target: string, headers = '') => {
  const socket = connect(Number(new URL(service.url).port), '127.0.0.1')
  t.teardown(() => { socket.destroy() })
  await once(socket, 'connect')
  socket.write(`GET ${target} HTTP/1.1\r\nhost: x\r\nauthorization: ${bearer().authorization}\r\n${headers}\r\n`)
  const [head] = await once(socket, 'data') as [Buffer]
  socket.pause()
  return { socket, head }
}

const readToTheEnd = async ({ socket, head }: Awaited<ReturnType<typeof beginReading>>) => {
  let bytes = head.length
  socket.on('data', data => { bytes += data.length })
  socket.on('error', () => {})
  const closed = once(socket, 'close')
  socket.resume()
  await closed
  return bytes
}

const tears = {
  'a result that is deleted': {
    before: finished, query: '', status: '200 OK', tear: "DELETE FROM JobExecutionLog WHERE jobId = 'big'"
  },
  'a result that takes another\'s place': {
    before: finished, query: '', status: '200 OK', tear: "UPDATE JobResult SET sha256 = 'BBBB' WHERE jobId = 'big'"
  },
  'a range of a result that expires': {
    before: finished,
    query: '',
    headers: `range: bytes=0-${sizeBytes - 1}\r\n`,
    status: '206 Partial Content',
    tear: "DELETE FROM JobResult WHERE jobId = 'big'"
  },
  'a part that another attempt starts again': {
    before: running,
    query: '?partial=true',
    status: '200 OK',
    tear: "UPDATE JobExecutionLog SET attempt = 2 WHERE jobId = 'big'"
  },
  'a part whose bytes are discarded': {
    before: running, query: '?partial=true', status: '200 OK', tear: "DELETE FROM JobResultChunk WHERE jobId = 'big'"
  }
}

for (const [what, { before, query, status, tear, ...more }] of Object.entries(tears)) {
  t.test(`${what} while it is read ends with the connection, never with bytes of another`, async t => {
    const service = await startService(t, { WORKERS: '0' })
    await service.sql(before + fillChunks)
    const reading = await beginReading(
      t, service, `/api/v1/jobs/big/result${query}`, 'headers' in more ? more.headers : ''
    )
    t.match(reading.head.toString('latin1'), new RegExp(`^HTTP/1.1 ${status}[^]*content-length: ${sizeBytes}\r\n`))
    await service.sql(tear)
    t.ok(await readToTheEnd(reading) < sizeBytes, 'cut short, and seen to be')
    t.equal((await service.ask('/livez')).status, 200)
  })
}

/** The result route on a real store, where `change` happens once between the look and the first byte; its looks and readings are counted. */
const openRoute = async (t: Test, change = '') => {
  const parts = await openParts(t, { cache: createMemoryCache({ now: () => Date.now(), random: () => 0 }) })
  const { store, expose, readStatus, watch, sql } = parts
  const read = createReadResult({ find: store.jobs.find, expose, now: () => Date.now(), ...createResultReader(parts) })
  const seen = { looks: 0, begun: 0, ended: 0 }
  const counted = (bytes: ReadBytes): ReadBytes => async function * (start, end) {
    seen.begun++
    try {
      yield * bytes(start, end)
    } finally {
      seen.ended++
    }
  }
  const server = fastify()
  t.teardown(() => server.close())
  for (const schema of namedSchemas) server.addSchema(schema)
  server.decorateRequest('principal', null)
  server.addHook('onRequest', async request => {
    request.principal = { subject: 'a', tenant: 'a', scopes: [], allTenants: true, expiresAt: Infinity }
  })
  server.setErrorHandler((error, request, reply) => sendFailure(request, reply, toClientFailure(error)))
  await server.register(resultRoutes, {
    statusAccess: createStatusAccess({ readStatus, awaitEntry: watch.awaitEntry, incarnation: 'a1', representation: 1, publicUrl: null }),
    waitingClients: { admit: () => null, endAll: () => {} },
    onShown: () => {},
    readResult: async jobId => {
      const result = await read(jobId)
      if (++seen.looks === 1) sql(change)
      return 'read' in result ? { ...result, read: counted(result.read) } : result
    }
  })
  const ask = async (target: string, method = 'GET') => {
    const answer = await fetch(target, { method })
    return { status: answer.status, body: await answer.text(), attempt: answer.headers.get('job-attempt') }
  }
  return { ask, sql, seen, url: await server.listen({ port: 0, host: '127.0.0.1' }) }
}

const small = "INSERT INTO JobResultChunk (jobId, startOffset, bytes) VALUES ('big', 0, CAST('abc' AS BLOB));"

t.test('a result that changes before the first byte of the response is looked up again', async t => {
  const expired = await openRoute(
    t, "UPDATE JobExecutionLog SET resultExpiredAt = '2026-01-31T12:00:00Z'; DELETE FROM JobResult"
  )
  expired.sql(finished + small)
  const gone = await expired.ask(`${expired.url}/api/v1/jobs/big/result`)
  t.match(gone, { status: 410, body: /RESULT_EXPIRED/ })

  const again = await openRoute(
    t, "UPDATE JobExecutionLog SET attempt = 2; UPDATE JobResultChunk SET bytes = CAST('xy' AS BLOB)"
  )
  again.sql(running + small)
  t.match(await again.ask(`${again.url}/api/jobs/big/result?partial=true`), { status: 200, body: 'xy', attempt: '2' })
})

t.test('a client that goes away ends the reading', async t => {
  const route = await openRoute(t)
  route.sql(finished + fillChunks)
  const { socket } = await beginReading(t, route, '/api/v1/jobs/big/result')
  t.same(route.seen, { looks: 1, begun: 1, ended: 0 })
  socket.destroy()
  await until(() => route.seen.ended === 1, 'the end of the reading')
})

t.test('no byte is read for who asks for none, and the database is left alone while a job is queued', async t => {
  const route = await openRoute(t)
  route.sql(`${finished} INSERT INTO JobExecutionLog (jobId, status) VALUES ('queued', 'Queued')`)
  t.match(await route.ask(`${route.url}/api/v1/jobs/big/result`, 'HEAD'), { status: 200 })
  t.same(route.seen, { looks: 1, begun: 0, ended: 0 })
  t.match(await route.ask(`${route.url}/api/v1/jobs/queued/result?partial=true`), { status: 202 })
  t.equal(route.seen.looks, 1)
})
