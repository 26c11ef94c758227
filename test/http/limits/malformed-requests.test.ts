import { once } from 'node:events'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import t from 'tap'
import type { Json } from '../../helpers/client.ts'
import { startService } from '../../helpers/service.ts'
import { bearer } from '../../helpers/tokens.ts'
import { insertRows } from '../rows.ts'

const service = await startService(t, { WORKERS: '0' })
await insertRows(service, { jobId: 'job-123', status: 'Queued' })

const port = Number(new URL(service.url).port)
const { authorization } = bearer()

/** Sends bytes as they are; everything that comes back until the server closes. */
const send = async (bytes: string): Promise<string> => {
  const socket = connect(port, '127.0.0.1')
  const answer = text(socket).catch((error: NodeJS.ErrnoException) => error.code ?? '')
  await once(socket, 'connect')
  socket.write(bytes, 'latin1')
  return await answer
}

const request = (line: string, headers: string[] = [], body = '') =>
  send(
    [
      `${line} HTTP/1.1`, `Host: 127.0.0.1:${port}`, `Authorization: ${authorization}`, 'Connection: close', ...headers,
      '', body
    ].join('\r\n')
  )

const statusOf = (answer: string) => Number(/^HTTP\/1\.1 (\d{3})/.exec(answer)?.[1])
const bodyOf = (answer: string): Json => JSON.parse(answer.slice(answer.indexOf('\r\n\r\n') + 4))

t.test('bytes that are no HTTP are 400 and close their connection', async t => {
  const requests = {
    noise: '\u0000\u0001\u0002\r\n\r\n',
    'a TLS hello': '\u0016\u0003\u0001\u0002\u0000\u0001\u0000',
    'an unknown method': 'FETCH /livez HTTP/1.1\r\nHost: x\r\n\r\n',
    'no host': 'GET /livez HTTP/1.1\r\n\r\n',
    'a blank in the path': 'GET /api/v1/jobs/a b HTTP/1.1\r\nHost: x\r\n\r\n',
    'a path in bytes that are no ASCII': 'GET /api/v1/jobs/\u00fc HTTP/1.1\r\nHost: x\r\n\r\n',
    'a NUL in a header': 'GET /livez HTTP/1.1\r\nHost: x\r\nA: b\u0000c\r\n\r\n',
    'a folded header': 'GET /livez HTTP/1.1\r\nHost: x\r\nA: b\r\n c: d\u0001\r\n\r\n',
    'two lengths': 'POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}',
    'a negative length': 'POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n',
    'length and chunks': 'POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'a chunk of no size': `POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: ${authorization}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n`
  }
  for (const [what, bytes] of Object.entries(requests)) {
    const answer = await send(bytes)
    t.equal(statusOf(answer), 400, what)
    t.match(bodyOf(answer), { status: 400, code: 'VALIDATION_FAILED' }, what)
  }
})

t.test('request line and headers may have 32 KiB together, and are 431 beyond', async t => {
  const lengthOf = (line: string, headers: string[]) => 'GET  HTTP/1.1\r\nHost: \r\n'.length + line.length +
    `127.0.0.1:${port}Authorization: ${authorization}\r\nConnection: close\r\n\r\n`.length + headers.join('\r\n').length + 2
  const rest = 32 * 1024 - lengthOf('/livez', ['X-Long: '])
  t.equal(statusOf(await request('GET /livez', [`X-Long: ${'a'.repeat(rest)}`])), 200)
  t.equal(statusOf(await request(`GET /livez?${'a'.repeat(15_000)}`, [`X-Long: ${'a'.repeat(15_000)}`])), 200)
  for (const answer of [
    await request('GET /livez', [`X-Long: ${'a'.repeat(33_000)}`]),
    await request(`GET /livez?${'a'.repeat(17_000)}`, [`X-Long: ${'a'.repeat(17_000)}`]),
    await request(`GET /api/v1/jobs/${'a'.repeat(33_000)}`)
  ]) {
    t.match(answer, /^HTTP\/1\.1 431 Request Header Fields Too Large\r\n/)
    t.match(answer, /^connection: close\r$/m)
    t.match(bodyOf(answer), {
      type: 'about:blank', title: String, status: 431, detail: /32 KiB/, instance: '', code: 'HEADERS_TOO_LARGE'
    })
  }
})

t.test('an id that no job can have is 404, and INVALID_TASK_ID in the task view', async t => {
  for (const id of ['.', '..', '%2e', '%2E%2e', '.%2e', 'a;b', 'a%3Fb', 'a'.repeat(129), 'a'.repeat(6000)]) {
    t.match(bodyOf(await request(`GET /api/v1/jobs/${id}`)), { code: 'JOB_NOT_FOUND' }, id.slice(0, 9))
    t.match(bodyOf(await request(`GET /api/jobs/${id}/status`)), { error: { code: 'INVALID_TASK_ID' } }, id.slice(0, 9))
  }
  t.equal(statusOf(await request('GET /api/v1/jobs/%6Aob%2D123')), 200, 'an encoded id is the same id')
})

t.test('dots in a path lead nowhere else', async t => {
  t.equal(statusOf(await request('GET /api/v1/jobs/../../../etc/passwd')), 404)
  t.equal(statusOf(await request('GET /docs/../api/v1/jobs/job-123')), 404)
  t.equal(statusOf(await request('GET /docs/static/../../../package.json')), 404)
  t.equal(statusOf(await request('GET /docs/static/..%2f..%2f..%2fpackage.json')), 404)
})

t.test('a request target in absolute form is its path', async t => {
  const found = await request(`GET http://127.0.0.1:${port}/api/v1/jobs/job-123`)
  t.equal(statusOf(found), 200)
  t.equal(
    bodyOf(await request('GET http://other.example.org/api/v1/jobs/no-such-job')).instance, '/api/v1/jobs/no-such-job'
  )
  t.match(bodyOf(await request(
    'GET http://other.example.org/api/jobs/no-such-job/status'
  )), { success: false }, 'in the shape of its path')
})

t.test('a request target in absolute form needs a token like any other', async t => {
  for (const path of ['/api/v1/jobs/job-123', '/api/nothing', '/docs/../api/v1/jobs/job-123']) {
    const answer = await send(`GET http://docs${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`)
    t.equal(statusOf(answer), path.startsWith('/api/') ? 401 : 404, path)
  }
})

t.test('a body on a GET is not taken for the next request', async t => {
  const hidden = 'GET /livez HTTP/1.1\r\nHost: x\r\n\r\n'
  const answer = await request('GET /api/v1/jobs/job-123', [`Content-Length: ${hidden.length}`], hidden)
  t.equal(answer.match(/HTTP\/1\.1 \d/g)?.length, 1)
  t.equal(statusOf(answer), 200)
})

t.test('pipelined requests have their responses in order', async t => {
  const get = (
    path: string, close = ''
  ) => `GET ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: ${authorization}\r\n${close}\r\n`
  const answer = await send(
    get('/api/v1/jobs/job-123') + get('/api/v1/jobs/no-such-job') + get('/livez', 'Connection: close\r\n')
  )
  t.same([...answer.matchAll(/HTTP\/1\.1 (\d{3})/g)].map(match => match[1]), ['200', '404', '200'])
})

t.test('a media type with odd blanks and letters is still validated', async t => {
  for (const type of [
    'application/json\t; charset=utf-8', 'APPLICATION/JSON', 'application/json;', ' application/json ; x="a;b"'
  ]) {
    const answer = await request('POST /api/v1/jobs', [`Content-Type: ${type}`, 'Content-Length: 2'], '{}')
    t.equal(statusOf(answer), 400, type)
    t.match(
      bodyOf(answer), { errors: [{ field: 'type', rule: 'required' }, { field: 'input', rule: 'required' }] }, type
    )
  }
})

t.test('a body that breaks off writes nothing', async t => {
  const socket = connect(port, '127.0.0.1')
  await once(socket, 'connect')
  socket.end(
    `POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: ${authorization}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"type":"x","inp`
  )
  socket.resume()
  await once(socket, 'close')
  t.equal(await service.sql("SELECT count(*) FROM JobExecutionLog WHERE type = 'x'"), '0')
})

t.test('the Location of a response to HTTP/1.0 without a host is still a URL', async t => {
  const body = '{"type":"x","input":1}'
  const answer = await send(
    `POST /api/v1/jobs HTTP/1.0\r\nAuthorization: ${authorization}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`
  )
  t.equal(statusOf(answer), 202)
  const location = /\r\nlocation: (.*)\r\n/i.exec(answer)?.[1] ?? ''
  t.match(location, new RegExp(`^http://127\\.0\\.0\\.1:${port}/api/v1/jobs/[0-9a-f-]{36}$`))
})

t.test('the URLs of an accepted job are those of the request target, where it is absolute', async t => {
  const body = '{"type":"x","input":1}'
  const lines = ['Content-Type: application/json', `Content-Length: ${body.length}`]
  const answer = await request('POST http://jobs.example.org:8080/api/v1/jobs', lines, body)
  t.match(bodyOf(answer).statusUrl, /^http:\/\/jobs\.example\.org:8080\/api\/v1\/jobs\/[0-9a-f-]{36}$/)
})

t.test('a Host that is none is 400; an empty one is that of the connection', async t => {
  const body = '{"type":"x","input":1}'
  const post = (host: string) => send(
    `POST /api/v1/jobs HTTP/1.1\r\nHost: ${host}\r\nAuthorization: ${authorization}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`
  )
  for (const host of [
    'a b', 'a"b', 'a/b', 'me@a', 'a:b', 'a:1:2', 'a\\b', 'a#b', 'a?b', '<a>', '%zz', '[::1', '[x]', 'http://a', 'a, b c'
  ]) {
    t.equal(statusOf(await post(host)), 400, host)
  }
  for (const [host, origin] of [
    ['a', 'http://a'], ['my_service:80', 'http://my_service:80'], ['[::1]:1', 'http://[::1]:1'],
    ['1.2.3.4', 'http://1.2.3.4'], ['', `http://127.0.0.1:${port}`], ['a:70000', `http://127.0.0.1:${port}`]
  ] as const) {
    t.ok(bodyOf(await post(host)).statusUrl.startsWith(`${origin}/api/v1/jobs/`), host)
  }
})

t.test('after all of this the service responds, and has logged no error', async t => {
  t.equal((await service.ask('/api/v1/jobs/job-123')).status, 200)
  t.same(service.logs.filter(line => line.level >= 50), [])
})

t.test('an unknown route is 404, whatever its body', async t => {
  for (const headers of [
    ['Content-Type: application/json', 'Content-Length: 2000000'], ['Content-Type: image/png', 'Content-Length: 5'],
    ['Content-Encoding: gzip', 'Content-Length: 5']
  ]) {
    t.equal(statusOf(await request('DELETE /api/v1/worker/claim', headers, 'abcde')), 405, headers.join(', '))
    t.equal(statusOf(await request('DELETE /api/v1/worker', headers, 'abcde')), 404, headers.join(', '))
  }
})
