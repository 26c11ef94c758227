import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import t from 'tap'
import { toDeclaredType } from '../../../../src/http/routes/workers/upload-headers.ts'
import { startService } from '../../../helpers/service.ts'
import { bearer } from '../../../helpers/tokens.ts'
import { until } from '../../../helpers/until.ts'
import { createWorkerClient, jsonOf, workerClaims } from '../../../helpers/client.ts'

const service = await startService(t, { WORKERS: '0' })
const { ask, askJson, submit, sql } = service
const { claimed, report, upload } = createWorkerClient(service)
const { authorization } = bearer(workerClaims)
const chunkBytes = 256 * 1024

const begin = async (type = 'work') => {
  await submit(type, null)
  return await claimed(type)
}

const put = async (
  jobId: string, token: string, offset: number, body: RequestInit['body'], headers: Record<string, string> = {}
) =>
  await fetch(`${service.url}/api/v1/worker/jobs/${jobId}/result?offset=${offset}`, {
    method: 'PUT', headers: { authorization, 'lease-token': token, ...headers }, body: body ?? null, duplex: 'half'
  })

/** Starts a PUT on a raw connection; the test sends the body. */
const openPut = async (jobId: string, token: string, offset: number, length: number) => {
  const socket = connect(Number(new URL(service.url).port), '127.0.0.1')
  const response = text(socket).catch((error: NodeJS.ErrnoException) => error.code ?? '')
  await once(socket, 'connect')
  socket.write([
    `PUT /api/v1/worker/jobs/${jobId}/result?offset=${offset} HTTP/1.1`, 'Host: x', `Authorization: ${authorization}`,
    `Lease-Token: ${token}`, 'Content-Type: text/plain', `Content-Length: ${length}`, '', ''
  ].join('\r\n'))
  return { socket, response }
}

const storedBytes = async (jobId: string) =>
  Number(await sql(`SELECT coalesce(max(startOffset + length(bytes)), 0) FROM JobResultChunk WHERE jobId = '${jobId}'`))

t.test('uploads a result in parts and completes the run', async t => {
  const { jobId, leaseToken } = await begin()
  const bytes = randomBytes(3 * chunkBytes + 17)
  const first = await put(jobId, leaseToken, 0, bytes.subarray(0, 2 * chunkBytes + 5), {
    'content-type': 'application/x-tar'
  })
  t.equal(first.status, 200)
  t.same(await first.json(), { offset: 2 * chunkBytes + 5, cancelRequested: false })
  t.match(await askJson(`/api/jobs/${jobId}/status`), { data: { status: 'running', partialResultAvailable: true } })
  const second = await put(jobId, leaseToken, 2 * chunkBytes + 5, bytes.subarray(2 * chunkBytes + 5), {
    'content-type': 'text/html'
  })
  t.same(await second.json(), { offset: bytes.byteLength, cancelRequested: false })

  const job = await jsonOf(report(jobId, 'complete', leaseToken, {}))
  t.match(job, { status: 'Succeeded', resultUrl: `/api/v1/jobs/${jobId}/result` })
  const result = await ask(job.resultUrl)
  t.equal(result.headers.get('content-type'), 'application/x-tar', 'that of the request at offset 0')
  t.equal(result.headers.get('repr-digest'), `sha-256=:${createHash('sha256').update(bytes).digest('base64')}:`)
  t.ok(Buffer.from(await result.arrayBuffer()).equals(bytes))
  const { data } = await askJson(`/api/jobs/${jobId}/status`)
  t.match(data, { resultAvailable: true, result: null, partialResultAvailable: false })
})

t.test('accepts a body of unknown length', async t => {
  const { jobId, leaseToken } = await begin()
  const pieces = ['a', 'b'.repeat(300_000), 'c']
  const body = new ReadableStream({
    start: controller => {
      for (const piece of pieces) controller.enqueue(Buffer.from(piece))
      controller.close()
    }
  })
  t.same(await (await put(jobId, leaseToken, 0, body)).json(), { offset: 300_002, cancelRequested: false })
  const { resultUrl } = await jsonOf(report(jobId, 'complete', leaseToken))
  const result = await ask(resultUrl)
  t.equal(result.headers.get('content-type'), 'application/octet-stream', 'the default')
  t.equal(await result.text(), pieces.join(''))
})

t.test('bytes whose type is not named are application/octet-stream', async t => {
  const types = [
    '*/*', 'image/*', '*/*;q=0.8', '', 'text', 'text/', '/plain', 'text/plain/x', 'text/plain; charset', 'text plain/x',
    'text/plain, text/html'
  ]
  for (const type of types) {
    const { jobId, leaseToken } = await begin()
    t.match(await jsonOf(put(jobId, leaseToken, 0, 'hello', { 'content-type': type })), { offset: 5 }, type)
    const { resultUrl } = await jsonOf(report(jobId, 'complete', leaseToken))
    t.equal((await ask(resultUrl)).headers.get('content-type'), 'application/octet-stream', type)
  }
  const { jobId, leaseToken } = await begin()
  const type = 'Text/CSV ; charset="utf-8";header=present'
  await put(jobId, leaseToken, 0, 'a,b', { 'content-type': type })
  t.equal(await sql(`SELECT resultContentType FROM JobQueue WHERE jobId = '${jobId}'`), type, 'others stay as they are')
})

// With a pattern that backtracks, this test does not end.
t.test('a type of many blanks and semicolons is matched in linear time', async t => {
  for (const hostile of [';  '.repeat(3000), '; a=b  '.repeat(2000), `; a="${'\\\\'.repeat(5000)}`]) {
    t.equal(toDeclaredType(`a/b${hostile}@`), 'application/octet-stream')
  }
  t.equal(toDeclaredType('text/csv ;  ; header=present; a="x \\" y" ;'), 'text/csv ;  ; header=present; a="x \\" y" ;')
})

t.test('Content-Range says where the bytes belong, and is held to it', async t => {
  const { jobId, leaseToken } = await begin()
  const putRange = (range: string, body: RequestInit['body'], query = '') =>
    fetch(`${service.url}/api/v1/worker/jobs/${jobId}/result${query}`, {
      method: 'PUT',
      headers: { authorization, 'lease-token': leaseToken, 'content-type': 'text/plain', 'content-range': range },
      body: body ?? null,
      duplex: 'half'
    })
  const streamOf = (text: string) => new Blob([text]).stream()
  t.match(await jsonOf(putRange('bytes 6-10/11', 'world')), { code: 'OFFSET_MISMATCH', offset: 0 })
  const wrong: Array<[range: string, body: RequestInit['body'], query?: string]> = [
    ['bytes */11', ''], ['bytes 0-4', 'hello'], ['bytes=0-4/11', 'hello'], ['bytes 4-0/11', 'hello'],
    ['bytes 0-4/4', 'hello'], ['items 0-4/11', 'hello'], ['bytes -5/11', 'hello'], ['x', 'hello'],
    ['bytes 0-5/11', 'hello'], ['bytes 0-3/11', 'hello'], ['bytes 0-4/*', ''], ['bytes 0-4/11', 'hello', '?offset=5'],
    ['bytes 5-9/11', 'hello', '?offset=0'], ['bytes 0-5/11', streamOf('hello')], ['bytes 0-3/11', streamOf('hello')]
  ]
  for (const [range, body, query] of wrong) {
    const answer = await putRange(range, body, query)
    t.equal(answer.status, 400, `${range} ${query ?? ''}`)
    t.match(await answer.json(), { errors: [{ field: 'content-range' }] })
    t.equal(await storedBytes(jobId), 0)
  }
  t.match(await jsonOf(putRange('bytes 0-4/11', 'hello')), { offset: 5 })
  t.match(await jsonOf(putRange('Bytes 5-5/*', streamOf(' '))), { offset: 6 })
  t.match(await jsonOf(putRange('bytes 6-10/11', 'world', '?offset=6')), { offset: 11 })
  t.match(await jsonOf(putRange('bytes 6-10/11', 'world')), { code: 'OFFSET_MISMATCH', offset: 11 })
  await report(jobId, 'complete', leaseToken)
  t.equal(await (await ask(`/api/v1/jobs/${jobId}/result`)).text(), 'hello world')
})

t.test('a wrong offset is 409 with the expected one', async t => {
  const { jobId, leaseToken } = await begin()
  await upload(jobId, leaseToken, 0, 'abc')
  for (const offset of [4, 2, 0, 2 ** 53 - 1]) {
    const answer = await upload(jobId, leaseToken, offset, 'xyz')
    t.equal(answer.status, 409, String(offset))
    t.match(await answer.json(), { code: 'OFFSET_MISMATCH', offset: 3 })
  }
  t.match(await (await upload(
    jobId, leaseToken, 0, ''
  )).json(), { code: 'OFFSET_MISMATCH', offset: 3 }, 'an empty body returns the next offset')
  t.same(await (await upload(jobId, leaseToken, 3, '')).json(), { offset: 3, cancelRequested: false })
  t.same(await (await upload(jobId, leaseToken, 3, 'def')).json(), { offset: 6, cancelRequested: false })
  for (const offset of ['-1', '1.5', 'x', '1e3x', '']) {
    t.equal((await upload(jobId, leaseToken, offset, 'x')).status, 400, `offset=${offset}`)
  }
  t.equal((await upload(jobId, leaseToken, '6&more=1', 'x')).status, 400)
  await report(jobId, 'complete', leaseToken)
  t.equal(await (await ask(`/api/v1/jobs/${jobId}/result`)).text(), 'abcdef')
})

t.test('an aborted upload keeps its complete chunks and resumes at the returned offset', async t => {
  const { jobId, leaseToken } = await begin()
  const bytes = randomBytes(4 * chunkBytes)
  const { socket } = await openPut(jobId, leaseToken, 0, bytes.byteLength)
  socket.write(bytes.subarray(0, 2 * chunkBytes + 1000))
  await until(async () => await storedBytes(jobId) === 2 * chunkBytes, 'two chunks in the store')
  socket.destroy()
  const { code, offset } = await jsonOf(put(jobId, leaseToken, bytes.byteLength, ''))
  t.equal(code, 'OFFSET_MISMATCH')
  t.equal(offset, 2 * chunkBytes)
  t.same(await (await put(jobId, leaseToken, offset, bytes.subarray(offset))).json(), { offset: bytes.byteLength, cancelRequested: false })
  await report(jobId, 'complete', leaseToken)
  const result = await ask(`/api/v1/jobs/${jobId}/result`)
  t.ok(Buffer.from(await result.arrayBuffer()).equals(bytes))
  t.match(result.headers.get('content-type'), /^text\/plain/, 'as the aborted request declared')
})

t.test('rejects an upload before its body has arrived, and closes the connection', async t => {
  const { jobId, leaseToken } = await begin()
  const cases: Array<[string, string, string, number, number]> = [
    ['a gap', jobId, leaseToken, 7, 409], ['a lost lease', jobId, 'guess', 0, 409],
    ['an unknown job', 'no-such-job', leaseToken, 0, 404]
  ]
  for (const [what, id, token, offset, status] of cases) {
    const { socket, response } = await openPut(id, token, offset, 10 * chunkBytes)
    let seen = ''
    socket.on('data', data => { seen += String(data) })
    await until(() => seen.includes('\r\n\r\n') && seen.endsWith('}'), `the response to ${what}`)
    t.match(seen, new RegExp(`^HTTP/1\\.1 ${status} `), what)
    t.match(seen, /\r\nconnection: close\r\n/i, what)
    // A client that keeps sending still receives the whole response.
    socket.write(Buffer.alloc(10 * chunkBytes))
    t.match(await response, /"code":"\w+".*\}$/, `${what}: whole, and the connection is closed`)
  }
  t.equal(await storedBytes(jobId), 0)
})

t.test('an upload that loses its lease ends, and none of its bytes are kept', async t => {
  const { jobId, leaseToken } = await begin('midway')
  const { socket, response } = await openPut(jobId, leaseToken, 0, 10 * chunkBytes)
  let seen = ''
  socket.on('data', data => { seen += String(data) })
  socket.write(Buffer.alloc(chunkBytes, 'a'))
  await until(async () => await storedBytes(jobId) === chunkBytes, 'the first chunk')
  await sql(`UPDATE JobQueue SET leaseExpiresAt = 1 WHERE jobId = '${jobId}'`)
  await until(async () => (await askJson(`/api/v1/jobs/${jobId}`)).status === 'Queued', 'the rescue')
  await sql(`UPDATE JobQueue SET availableAt = 0 WHERE jobId = '${jobId}'`)
  const second = await claimed('midway')
  socket.write(Buffer.alloc(chunkBytes, 'b'))
  await until(() => seen.includes('"code"'), 'the response')
  socket.write(Buffer.alloc(8 * chunkBytes))
  const rejection = await response
  t.match(rejection, /^HTTP\/1\.1 409 .*"code":"LEASE_LOST"/s)
  t.match(rejection, /\r\nconnection: close\r\n/i)
  t.equal(await storedBytes(jobId), 0)
  t.same(await (await upload(jobId, second.leaseToken, 0, 'whole')).json(), { offset: 5, cancelRequested: false })
  await report(jobId, 'complete', second.leaseToken)
  t.equal(await (await ask(`/api/v1/jobs/${jobId}/result`)).text(), 'whole')
})

t.test('one of several concurrent uploads at one offset is stored, the others get the next offset', async t => {
  const { jobId, leaseToken } = await begin()
  const answers = await Promise.all(Array.from({ length: 5 }, (_, at) => upload(jobId, leaseToken, 0, `from ${at}`)))
  t.same(answers.map(answer => answer.status).toSorted(), [200, 409, 409, 409, 409])
  t.equal(await storedBytes(jobId), 6)
})

const names: Array<[string | undefined, string, string]> = [
  [undefined, 'text/csv; charset=utf-8', 'result.csv'],
  [undefined, 'IMAGE/PNG', 'result.png'],
  [undefined, 'application/x-unheard-of', 'result'],
  ['attachment; filename="a b.csv"', 'text/csv', 'a b.csv'],
  ['attachment; filename=plain.csv', 'text/csv', 'plain.csv'],
  ['attachment; filename="say \\"hi\\".csv"', 'text/csv', 'say "hi".csv'],
  ['attachment; filename="x.csv"; filename*=UTF-8\'\'%C3%BCber.csv', 'text/csv', 'über.csv'],
  ['attachment; filename*=UTF-8\'\'%ZZ; filename="x.csv"', 'text/csv', 'x.csv'],
  ['attachment; filename="../../etc/passwd"', 'text/csv', 'passwd'],
  ['attachment; filename="C:\\\\temp\\\\x.csv"', 'text/csv', 'x.csv'],
  ['attachment; filename=".."', 'text/csv', 'result.csv'],
  [Buffer.from('attachment; filename="ü.csv"').toString('latin1'), 'text/csv', 'ü.csv'],
  ['inline', 'text/csv', 'result.csv'],
  ['attachment; filename="a; filename*=UTF-8\'\'evil.exe.csv"', 'text/csv', 'a; filename*=UTF-8\'\'evil.exe.csv'],
  ['attachment; filename="no end', 'text/csv', 'result.csv'],
  [`attachment; filename="${'n'.repeat(240)}.csv"`, 'text/csv', `${'n'.repeat(196)}.csv`]
]
for (const [disposition, contentType, fileName] of names) {
  t.test(`names the file by Content-Disposition or by type: ${disposition?.slice(0, 80)} ${contentType}`, async t => {
    const { jobId, leaseToken } = await begin()
    const headers = {
      'content-type': contentType, ...(disposition === undefined ? {} : { 'content-disposition': disposition })
    }
    t.equal((await put(jobId, leaseToken, 0, 'x', headers)).status, 200)
    await report(jobId, 'complete', leaseToken)
    t.equal(
      await sql(`SELECT contentType, fileName FROM JobResult WHERE jobId = '${jobId}'`), `${contentType}|${fileName}`
    )
  })
}

t.test('rejects bodies with invalid headers', async t => {
  const { jobId, leaseToken } = await begin()
  t.equal((await put(jobId, leaseToken, 0, 'x', { 'content-encoding': 'gzip' })).status, 415)
  t.match(await (await put(jobId, leaseToken, 0, 'x', {
    'content-type': `text/plain; x="${'a'.repeat(250)}"`
  })).json(), { errors: [{ field: 'content-type' }] })
  t.match(await (await upload(jobId, null, 0, 'x')).json(), { errors: [{ field: 'lease-token' }] })
  t.equal(await storedBytes(jobId), 0)
})

t.test('small JSON that was uploaded in parts is included in the status', async t => {
  const { jobId, leaseToken } = await begin()
  await put(jobId, leaseToken, 0, '1', { 'content-type': 'application/json' })
  await put(jobId, leaseToken, 1, '2345678901234567890')
  await report(jobId, 'complete', leaseToken)
  t.match(await (await ask(`/api/jobs/${jobId}/status`)).text(), '"result":12345678901234567890}')
})

t.test('bytes declared as a form, the default of curl, are application/octet-stream', async t => {
  const { jobId, leaseToken } = await begin()
  await put(jobId, leaseToken, 0, 'a=b', { 'content-type': 'application/x-www-form-urlencoded' })
  const { resultUrl } = await jsonOf(report(jobId, 'complete', leaseToken, {}))
  t.equal((await ask(resultUrl)).headers.get('content-type'), 'application/octet-stream')
})

t.test('an empty upload is an empty result', async t => {
  const { jobId, leaseToken } = await begin()
  t.same(await (await put(jobId, leaseToken, 0, '', { 'content-type': 'text/csv' })).json(), { offset: 0, cancelRequested: false })
  t.match(await (await report(jobId, 'complete', leaseToken)).json(), { resultUrl: `/api/v1/jobs/${jobId}/result` })
  const result = await ask(`/api/v1/jobs/${jobId}/result`)
  t.equal(result.status, 200)
  t.equal(result.headers.get('content-type'), 'text/csv')
  t.equal(await result.text(), '')
})

t.test('completing with a result after an upload is 400, and the run continues', async t => {
  const { jobId, leaseToken } = await begin()
  await upload(jobId, leaseToken, 0, 'abc')
  for (const body of [{ result: 1 }, { resultUrl: 'https://example.org/a' }]) {
    const answer = await report(jobId, 'complete', leaseToken, body)
    t.equal(answer.status, 400)
    t.match(await answer.json(), { code: 'VALIDATION_FAILED', detail: /uploaded/, errors: [{ rule: 'resultBegun' }] })
  }
  t.equal((await report(jobId, 'complete', leaseToken)).status, 200)
})

t.test('the next attempt does not see the bytes of a failed one', async t => {
  const { jobId, leaseToken } = await begin('again')
  await put(jobId, leaseToken, 0, 'half of ', { 'content-type': 'text/html' })
  await report(jobId, 'fail', leaseToken, { error: { code: 'E', message: 'm' } })
  await sql(`UPDATE JobQueue SET availableAt = 0 WHERE jobId = '${jobId}'`)
  const second = await claimed('again')
  t.match(await (await report(jobId, 'complete', second.leaseToken)).json(), { resultUrl: null })
})

t.test('the log has no error after all tests', async t => {
  t.same(service.logs.filter(line => line.level >= 50), [])
})
