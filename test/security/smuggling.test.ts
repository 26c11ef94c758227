import { once } from 'node:events'
import { connect } from 'node:net'
import t, { type Test } from 'tap'
import { startService } from '../helpers/service.ts'
import { token } from '../helpers/tokens.ts'
import { until } from '../helpers/until.ts'
import { openRemoteWorker } from '../http/remote-worker.ts'
import { createConnection, readAnswers, sendAlone, valuesOf } from '../helpers/raw-http.ts'

/*
 * Requests that one reader takes for one and another for two. Each carries, where only a lax parser would find it, a
 * request that submits a job of the type "hidden".
 */

const service = await startService(t, { WORKERS: '0' })
const port = Number(new URL(service.url).port)
const authorization = `Authorization: Bearer ${token({ expiresIn: 3_600_000 })}`

const job = '{"type":"hidden","input":1}'
const hidden =
  `POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\n${authorization}\r\nContent-Type: application/json\r\nContent-Length: ${job.length}\r\n\r\n${job}`

const jobsOf = (type: string) => service.sql(`SELECT count(*) FROM JobExecutionLog WHERE type = '${type}'`)

/** A submission with these lines for its framing. */
const post = (lines: string[], body: string, target = '/api/v1/jobs') =>
  [
    `POST ${target} HTTP/1.1`, 'Host: x', authorization, 'Content-Type: application/json', ...lines, '', body
  ].join('\r\n')
const get = (lines: string[], target = '/api/v1/jobs/no-such-job', version = 'HTTP/1.1') =>
  [`GET ${target} ${version}`, 'Host: x', authorization, ...lines, '', ''].join('\r\n')

// Chunks that end at once, and what a reader of lengths takes for the rest of the body.
const ended = `0\r\n\r\n${hidden}`
const chunkedFirst = (coding: string) => post([`Content-Length: ${ended.length}`, coding], ended)
// A chunk that hides the request from a reader of chunks; a reader of lengths stops after the first line.
const chunk = `${hidden.length.toString(16)}\r\n${hidden}\r\n0\r\n\r\n`

const codings = [
  'Transfer-Encoding: chunked', 'Transfer-Encoding: Chunked', 'transfer-encoding: chunked ',
  'Transfer-Encoding:chunked', 'Transfer-Encoding: xchunked', 'Transfer-Encoding: chunked, identity',
  'Transfer-Encoding: identity, chunked', 'Transfer-Encoding: identity', 'Transfer-Encoding: gzip, chunked',
  'Transfer-Encoding: chunked, chunked', 'Transfer-Encoding: chunked;q=1',
  'Transfer-Encoding: "chunked"', 'Transfer-Encoding:\u000bchunked', 'Transfer-Encoding: \u00a0chunked',
  'Transfer-Encoding : chunked', 'Transfer-Encoding\t: chunked', ' Transfer-Encoding: chunked',
  'Transfer-Encoding:\r\n chunked', 'Transfer-Encoding\u0000: chunked', 'Transfer-Encoding: chunked\u0000',
  'Transfer-Encoding: chunked\r\nTransfer-Encoding: x', 'Transfer-Encoding: x\r\nTransfer-Encoding: chunked',
  'X: y\nTransfer-Encoding: chunked', 'X: y\rTransfer-Encoding: chunked', 'Transfer-Encoding: chunked\n',
  'Transfer-Encoding: ,chunked', 'Transfer-Encoding: chunked,', 'Transfer-Encoding: chunk ed'
]

const lengthLines = [
  'Content-Length: 2\r\nContent-Length: 2', 'Content-Length: 2\r\nContent-Length: 0',
  'Content-Length: 0\r\nContent-Length: 2',
  'Content-Length: 2, 2', 'Content-Length: 2,', 'Content-Length: +2', 'Content-Length: -2',
  'Content-Length: 0x2', 'Content-Length: 2 2', 'Content-Length: 2;x', 'Content-Length: 2e0', 'Content-Length: 2.0',
  'Content-Length: "2"', 'Content-Length: \u00b2', 'Content-Length:', 'Content-Length: 18446744073709551618',
  'Content-Length: 99999999999999999999999999', 'Content-Length: 2\u0000', 'Content-Length : 2', ' Content-Length: 2',
  'Content-Length\u000b: 2', 'Content-Length: 2\r\n 0', 'X: y\nContent-Length: 2',
  'Content_Length: 2\r\nContent-Length: two'
]

const sizes = [
  '0x2', '+2', '-2', ' 2', '2 2', '2,', '', '02g', 'g', '10000000000000002', '2\r', '2\n', '2;\u0000', '2;a=\nb',
  '2;a=\rb', '2\u000b', '"2"'
]

/** One answer, 4xx, after which the connection is closed; nothing of what was hidden is done. */
const expectRejected = async (t: Test, bytes: string, what: string) => {
  const { bytes: received, isClosed } = await sendAlone(port, bytes)
  const answers = readAnswers(received)
  t.same(answers.map(({ status }) => Math.floor(status / 100)), [4], `${what}: one rejection`)
  t.same(answers.flatMap(answer => valuesOf(answer, 'connection')), ['close'], what)
  t.ok(isClosed, `${what}: closed`)
}

t.test('a length and a coding, or an odd coding, is one rejection that closes the connection', async t => {
  for (const coding of codings) await expectRejected(t, chunkedFirst(coding), JSON.stringify(coding))
  for (const coding of codings) {
    await expectRejected(t, post([coding, 'Content-Length: 4'], chunk), `${JSON.stringify(coding)} before a length`)
  }
  t.equal(await jobsOf('hidden'), '0')
})

t.test('an odd coding without a length is rejected, too', async t => {
  const taken = [
    'Transfer-Encoding: chunked', 'Transfer-Encoding: Chunked', 'transfer-encoding: chunked ',
    'Transfer-Encoding:chunked'
  ]
  for (const coding of codings.filter(coding => !taken.includes(coding))) {
    await expectRejected(t, post([coding], `0\r\n\r\n${hidden}`), JSON.stringify(coding))
  }
  t.equal(await jobsOf('hidden'), '0')
})

t.test('lengths that are given twice, or are no numbers, are rejected', async t => {
  for (const line of lengthLines) await expectRejected(t, post([line], `{}${hidden}`), JSON.stringify(line))
  t.equal(await jobsOf('hidden'), '0')
})

t.test('chunk sizes that parsers read differently are rejected', async t => {
  for (const size of sizes) {
    await expectRejected(
      t, post(['Transfer-Encoding: chunked'], `${size}\r\n{}\r\n0\r\n\r\n${hidden}`), JSON.stringify(size)
    )
  }
  const bodies = {
    'no end of a chunk': `2\r\n{}0\r\n\r\n${hidden}`,
    'a chunk that is longer than its size': `2\r\n{} \r\n0\r\n\r\n${hidden}`,
    'lines that end with LF': `2\n{}\n0\n\n${hidden}`,
    'lines that end with CR': `2\r{}\r0\r\r${hidden}`,
    'an end with LF': `2\r\n{}\n0\r\n\r\n${hidden}`,
    'a trailer without a name': `2\r\n{}\r\n0\r\n: x\r\n\r\n${hidden}`,
    'a trailer with a NUL': `2\r\n{}\r\n0\r\nX: \u0000\r\n\r\n${hidden}`
  }
  for (const [what, body] of Object.entries(bodies)) {
    await expectRejected(t, post(['Transfer-Encoding: chunked'], body), what)
  }
  t.equal(await jobsOf('hidden'), '0')
})

t.test('header lines and names that parsers read differently are rejected', async t => {
  const requests: Record<string, string> = {
    'LF alone': get([]).replaceAll('\r\n', '\n') + hidden,
    'CR alone': `${get([]).replaceAll('\r\n', '\r')}\r\n\r\n${hidden}`,
    'LF alone after a header': get(['A: b\nC: d']) + hidden,
    'an empty line of LF': `GET /livez HTTP/1.1\r\nHost: x\r\n\n${hidden}`,
    'a folded header': get(['A: b', ' c: d']) + hidden,
    'a folded header with a tab': get(['A: b', '\tc: d']) + hidden,
    'a blank before the colon': get(['A : b']) + hidden,
    'a tab before the colon': get(['A\t: b']) + hidden,
    'a blank before the name': `GET /livez HTTP/1.1\r\n Host: x\r\n\r\n${hidden}`,
    'no colon': get(['A']) + hidden,
    'no name': get([': b']) + hidden,
    'a NUL in a value': get(['A: b\u0000c']) + hidden,
    'a NUL in a name': get(['A\u0000: b']) + hidden,
    'a bell in a value': get(['A: b\u0007']) + hidden,
    'a name that is no token': get(['A(b): c']) + hidden,
    'a name of Latin-1': get(['\u00c4: c']) + hidden,
    'two hosts': get(['Host: y']) + hidden,
    'no host': `GET /livez HTTP/1.1\r\n\r\n${hidden}`
  }
  for (const [what, bytes] of Object.entries(requests)) await expectRejected(t, bytes, what)
  t.equal(await jobsOf('hidden'), '0')
})

t.test('request lines that parsers read differently are rejected', async t => {
  const lines: Record<string, string> = {
    'another protocol': 'GET /livez HTCPCP/1.0',
    'HTTP/2.0': 'GET /livez HTTP/2.0',
    'HTTP/1.2': 'GET /livez HTTP/1.2',
    'HTTP/0.9 with its version': 'GET /livez HTTP/0.9',
    'HTTP/0.9': 'GET /livez',
    'HTTP/1': 'GET /livez HTTP/1',
    'HTTP/1.1.1': 'GET /livez HTTP/1.1.1',
    'http in small letters': 'GET /livez http/1.1',
    tabs: 'GET\t/livez\tHTTP/1.1',
    'a blank at the end': 'GET /livez HTTP/1.1 ',
    'a blank in the target': 'GET /livez /x HTTP/1.1',
    'no target': 'GET HTTP/1.1',
    'a NUL in the target': 'GET /livez\u0000 HTTP/1.1',
    'a method in small letters': 'get /livez HTTP/1.1',
    'a method of no kind': 'GE(T /livez HTTP/1.1',
    'a CR in the target': 'GET /liv\rez HTTP/1.1',
    'the start of HTTP/2': 'PRI * HTTP/2.0',
    'a blank before the method': ' GET /livez HTTP/1.1',
    'a relative target': 'GET livez HTTP/1.1'
  }
  for (const [what, line] of Object.entries(lines)) await expectRejected(t, `${line}\r\nHost: x\r\n\r\n${hidden}`, what)
  t.equal(await jobsOf('hidden'), '0')
})

/** The statuses of all answers on a connection whose last request asks to close it. */
const statusesOf = async (bytes: string) => readAnswers((await sendAlone(port, bytes)).bytes).map(
  ({ status }) => status
)
const last = get(['Connection: close'], '/livez')

t.test('bytes after a request do not get a response in its place', async t => {
  const closing = get(['Connection: close'])
  t.same(await statusesOf(closing + last), [404], 'more than was announced')
  t.same(await statusesOf(`${closing}GARBAGE`), [404], 'noise after the last request')
  t.same(await statusesOf(`${get([])}GARBAGE\r\n\r\n`), [404], 'noise after a request')
  t.same(await statusesOf(`${get([])}${get([])}GARBAGE\r\n\r\n`).then(([first]) => first), 404, 'noise after two')
  t.same(await statusesOf(
    `${get([])}GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n`
  ), [404], 'an ambiguous request after one that is not')
  t.same(await statusesOf(`${post(['Content-Length: 1'], '{')}GARBAGE\r\n\r\n`), [400], 'noise after a body')
})

t.test('nothing behind a rejected request is handled, also while a response before it is not ready', async t => {
  const slow = get([], '/api/v1/jobs?limit=1')
  const ambiguous = 'GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n'
  t.same(await statusesOf(slow + ambiguous + hidden), [200])
  t.same(await statusesOf(slow + get([]) + ambiguous + hidden), [200, 404], 'each request before it has its response')
  t.same(await statusesOf(`${slow}${get([])}GARBAGE\r\n\r\n`), [200, 404], 'before noise, too')
  t.equal(await jobsOf('hidden'), '0')
})

t.test('noise after a request does not get into its download', async t => {
  // More than the buffers of a connection hold.
  const bytes = Buffer.alloc(30_000_000, 'x')
  const worker = openRemoteWorker(t, service)
  const lease = await worker.run()
  await worker.completeWith(lease, bytes)
  await until(
    async () => (await service.askJson(`/api/v1/jobs/${lease.jobId}`)).status === 'Succeeded', 'the end of the job'
  )
  const socket = connect({ port, host: '127.0.0.1' })
  const pieces: Buffer[] = []
  socket.write(get([], `/api/v1/jobs/${lease.jobId}/result`))
  await once(socket, 'readable')
  const rejected = once(service.app.server.server, 'clientError')
  socket.write('GARBAGE\r\n\r\n')
  await rejected
  socket.on('data', data => { pieces.push(data) })
  await once(socket, 'close')
  const [answer, ...more] = readAnswers(Buffer.concat(pieces))
  t.equal(answer?.status, 200)
  t.ok(answer?.body.equals(bytes), 'every byte as it was stored')
  t.same(more, [])
})

t.test('a target in another form is a path or unknown', async t => {
  t.same(await statusesOf(get([], 'http://x/api/v1/jobs/no-such-job') + last), [404, 200], 'absolute form')
  t.same(await statusesOf(get(
    [], 'http://user:pass@x:1/api/v1/jobs/no-such-job?http://y/livez'
  ) + last), [404, 200], 'absolute form with all parts')
  for (const target of ['http://x', 'http://x?/livez', '*']) {
    t.same(await statusesOf(get(['Connection: close'], target)), [302], `${target}: the root, which leads to the page`)
  }
  for (const target of [
    'https://', 'http:///livez', 'ftp://x/livez', 'file:///etc/passwd', '//x/livez', '/\\x', '/..;/livez', '/livez%00',
    '/%2e%2e/livez', 'javascript:/livez', '/livez;x'
  ]) {
    const [status = 0, ...more] = await statusesOf(get(['Connection: close'], target))
    t.ok([400, 401, 404].includes(status), `${target}: ${status}`)
    t.same(more, [], target)
  }
  const connected = await sendAlone(port, `CONNECT 127.0.0.1:${port} HTTP/1.1\r\nHost: x\r\n\r\n${hidden}`)
  t.ok(connected.isClosed)
  t.ok(readAnswers(connected.bytes).every(({ status }) => status >= 400), 'no tunnel')
  t.equal(await jobsOf('hidden'), '0')
})

t.test('an unexpected body is still read as a body', async t => {
  const body = [`Content-Length: ${hidden.length}`]
  for (const [method, target] of [
    ['GET', '/livez'], ['GET', '/api/v1/jobs/no-such-job'], ['DELETE', '/api/v1/jobs/no-such-job'],
    ['OPTIONS', '/api/v1/jobs'], ['TRACE', '/livez'],
    ['POST', '/api/v1/jobs/no-such-job/cancel'], ['PUT', '/nothing'], ['GET', '/openapi.json'], ['GET', '/docs/']
  ] as const) {
    for (const [lines, text] of [[body, hidden], [['Transfer-Encoding: chunked'], chunk]] as const) {
      const answers = readAnswers(
        (await sendAlone(
          port,
          `${method} ${target} HTTP/1.1\r\nHost: x\r\n${authorization}\r\n${lines.join('\r\n')}\r\n\r\n${text}${last}`
        )).bytes
      )
      const statuses = answers.map(({ status }) => status)
      const closes = answers.slice(0, 1).flatMap(answer => valuesOf(answer, 'connection')).includes('close')
      t.same(statuses.slice(1), closes ? [] : [200], `${method} ${target}: ${statuses.join()}`)
      t.ok(statuses.every(status => status < 500))
    }
  }
  t.equal(await jobsOf('hidden'), '0')
})

t.test('the body of a request without a token is not read as the next request', async t => {
  for (const line of ['POST /api/v1/jobs', 'PUT /api/v1/worker/jobs/x/result', 'POST /api/sanitize/async']) {
    for (const [lines, text] of [
      [[`Content-Length: ${hidden.length}`], hidden], [['Transfer-Encoding: chunked'], chunk]
    ] as const) {
      const { bytes } = await sendAlone(
        port, `${line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${lines.join('\r\n')}\r\n\r\n${text}`
      )
      t.same(readAnswers(bytes).map(({ status }) => status), [401], line)
    }
  }
  t.equal(await jobsOf('hidden'), '0')
})

t.test('no upgrade and no expectation changes how bytes are parsed', async t => {
  for (const lines of [
    ['Connection: Upgrade, HTTP2-Settings', 'Upgrade: h2c', 'HTTP2-Settings: AAMAAABkAAQAAP__'], [
      'Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Key: x', 'Sec-WebSocket-Version: 13'
    ], ['Upgrade: TLS/1.0', 'Connection: Upgrade']
  ]) {
    const { exchange, close } = createConnection(port)
    t.match(
      await exchange(Buffer.from(get(lines, '/livez'))), { kind: 'answered', answer: { status: 200 } }, lines.join()
    )
    t.match(await exchange(Buffer.from(
      get([], '/livez')
    )), { kind: 'answered', answer: { status: 200 } }, 'and the connection goes on in HTTP/1.1')
    close()
  }
  const small = '{"type":"open","input":1}'
  t.same(await statusesOf(post(
    ['Expect: 100-continue', `Content-Length: ${small.length}`, 'Connection: close'], small
  )), [202])
  t.same(await statusesOf(post(
    ['Expect: 100-continue', `Content-Length: ${hidden.length}`, 'Connection: close'], hidden
  )), [400])
  const odd = await statusesOf(post(['Expect: more', `Content-Length: ${hidden.length}`, 'Connection: close'], hidden))
  t.ok(odd.length === 1 && Number(odd[0]) >= 400 && Number(odd[0]) < 500, `another expectation: ${odd.join()}`)
  t.equal(await jobsOf('hidden'), '0')
})

t.test('valid requests are accepted, or the tests above would prove nothing', async t => {
  const small = '{"type":"open","input":1}'
  const size = small.length.toString(16)
  const chunks = [
    `${size}\r\n${small}\r\n0\r\n\r\n`, `000${size};a=b;c="d"\r\n${small}\r\n0\r\nX: y\r\n\r\n`,
    `${size.toUpperCase()}\r\n${small}\r\n00\r\n\r\n`
  ]
  for (const text of chunks) {
    t.same(await statusesOf(post(['Transfer-Encoding: chunked'], text) + last), [202, 200], text)
  }
  t.same(await statusesOf(post([`Content-Length: ${small.length}`], small) + last), [202, 200])
  t.same(await statusesOf(post([`content-length:${small.length}\t `], small) + last), [202, 200])
  const before = await jobsOf('hidden')
  t.same(await statusesOf(get([], '/livez') + hidden + last), [200, 202, 200], 'what is not hidden is done')
  t.not(await jobsOf('hidden'), before)
  t.same(service.logs.filter(line => line.level >= 50), [])
})
