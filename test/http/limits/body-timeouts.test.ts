import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import type { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import fastify from 'fastify'
import t, { type Test } from 'tap'
import { type BodyTimeouts, registerBodyTimeouts } from '../../../src/http/limits/body-timeouts.ts'
import { takeRawBodies } from '../../../src/http/bodies/raw-body.ts'
import { startService } from '../../helpers/service.ts'
import { until } from '../../helpers/until.ts'

/** A server with body timeouts only, and routes that read a body as a whole or as a stream, or reject the request. */
const listen = async (t: Test, limits: Partial<BodyTimeouts>) => {
  const app = fastify({ forceCloseConnections: true })
  registerBodyTimeouts(app, { wholeMs: 60_000, silenceMs: 60_000, answeredMs: 60_000, ...limits })
  const gate = Promise.withResolvers<undefined>()
  const handled: string[] = []
  const reject = { onRequest: async () => { throw Object.assign(new Error('no'), { statusCode: 401 }) } }
  const take = async () => ({ taken: true })
  app.post('/api/sanitize', async () => ({}))
  app.post('/whole', async () => {
    handled.push('whole')
    return { taken: true }
  })
  app.post('/whole-rejected', reject, take)
  await app.register((streamed, _options, done) => {
    takeRawBodies(streamed, '*')
    const config = { isStreamed: true }
    streamed.put('/streamed', { config }, async request => {
      let size = 0
      for await (const piece of request.body as Readable) size += (piece as Buffer).byteLength
      return { size }
    })
    streamed.put('/late-reader', { config }, async request => {
      await gate.promise
      let size = 0
      for await (const piece of request.body as Readable) size += (piece as Buffer).byteLength
      return { size }
    })
    streamed.put('/gives-up', { config }, async request => {
      const pieces = (request.body as Readable)[Symbol.asyncIterator]() as AsyncIterator<Buffer, undefined>
      const { value } = await pieces.next()
      await pieces.return?.()
      return { size: value?.byteLength }
    })
    streamed.put('/streamed-rejected', { config, ...reject }, take)
    done()
  })
  t.teardown(() => app.close())
  const port = Number(new URL(await app.listen({ port: 0, host: '127.0.0.1' })).port)
  /** Sends the head of a request, and keeps what comes back. */
  const begin = async (line: string, length: number | 'chunked') => {
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
    const received = { text: '', isClosed: false }
    socket.on('data', data => { received.text += String(data) })
    socket.on('error', () => {})
    socket.on('close', () => { received.isClosed = true })
    socket.on('end', () => { received.isClosed = true })
    t.teardown(() => socket.destroy())
    await once(socket, 'connect')
    const size = length === 'chunked' ? 'Transfer-Encoding: chunked' : `Content-Length: ${length}`
    socket.write(`${line} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n${size}\r\n\r\n`)
    return { socket, received }
  }
  return { begin, openGate: () => { gate.resolve(undefined) }, handled }
}

const answersIn = (text: string) => Array.from(text.matchAll(/HTTP\/1\.1 (\d{3})/g), match => match[1])

/** Sends a byte now and then, until the connection is closed. */
const trickle = (t: Test, socket: Socket, everyMs: number) => {
  const timer = setInterval(() => { if (socket.writable) socket.write(' ') }, everyMs)
  socket.on('close', () => { clearInterval(timer) })
  t.teardown(() => { clearInterval(timer) })
}

t.test('a body that does not arrive in time, or trickles in, is 408 and closes its connection', async t => {
  const { begin, handled } = await listen(t, { wholeMs: 200 })
  for (const length of [100, 'chunked'] as const) {
    const { received } = await begin('POST /whole', length)
    await until(() => received.isClosed, 'the end')
    t.match(received.text, /^HTTP\/1\.1 408 Request Timeout\r\ncontent-type: application\/problem\+json/)
    t.match(received.text, /"status":408,"detail":"[^"]+","instance":"\/whole","code":"REQUEST_TIMEOUT"}$/)
  }
  const inEnvelope = await begin('POST /api/sanitize', 100)
  await until(() => inEnvelope.received.isClosed, 'the end')
  t.match(inEnvelope.received.text, /\r\n\r\n{"success":false,"error":{"code":"REQUEST_TIMEOUT","message":"[^"]+"}}$/)
  const { socket, received } = await begin('POST /whole', 1_000_000)
  trickle(t, socket, 20)
  await until(() => received.isClosed, 'the end')
  t.same(handled, [])
})

t.test('a body that arrives in time leaves no timer behind on its connection', async t => {
  const { begin } = await listen(t, { wholeMs: 100 })
  const { socket, received } = await begin('POST /whole', 2)
  socket.write('{}')
  await until(() => received.text.endsWith('{"taken":true}'), 'the answer')
  await delay(300)
  socket.write('POST /whole HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}')
  await until(() => answersIn(received.text).length === 2, 'the second answer')
  t.same(answersIn(received.text), ['200', '200'])
  t.notOk(received.isClosed)
})

t.test('a streamed body has no limit in all while its bytes arrive', async t => {
  const { begin } = await listen(t, { wholeMs: 100, silenceMs: 1000 })
  const { socket, received } = await begin('PUT /streamed', 25)
  for (let piece = 0; piece < 25; piece++) {
    socket.write('x')
    await delay(100)
  }
  await until(() => received.text.endsWith('{"size":25}'), 'the answer')
  t.same(answersIn(received.text), ['200'])
})

t.test('a streamed body that stops arriving is 408 and closes its connection', async t => {
  const { begin } = await listen(t, { silenceMs: 100 })
  const { socket, received } = await begin('PUT /streamed', 25)
  socket.write('xxxxx')
  await until(() => received.isClosed, 'the end')
  t.same(answersIn(received.text), ['408'])
})

t.test('bytes that the route has not read yet do not count as a silent client', async t => {
  const { begin, openGate } = await listen(t, { silenceMs: 500 })
  const { socket, received } = await begin('PUT /late-reader', 5_000_000)
  socket.write(Buffer.alloc(5_000_000))
  await delay(1200)
  t.equal(received.text, '')
  openGate()
  await until(() => received.text.endsWith('{"size":5000000}'), 'the answer')
})

t.test('a rejected request cannot keep its connection by not sending its body', async t => {
  const { begin } = await listen(t, { wholeMs: 100, answeredMs: 100 })
  for (const line of ['POST /whole-rejected', 'PUT /streamed-rejected']) {
    const { received } = await begin(line, 1000)
    await until(() => received.isClosed, `the end of ${line}`)
    t.same(answersIn(received.text), ['401'], `${line}: one answer`)
  }
})

const early = [
  ['a rejected upload', 'PUT /streamed-rejected', 401], ['a body that is larger than its route takes', 'POST /whole', 413]
] as const

for (const [what, line, status] of early) {
  t.test(`${what} has its response at once, and its connection closes once the client has seen it`, async t => {
    const { begin } = await listen(t, {})
    const { socket, received } = await begin(line, 30_000_000)
    await until(() => received.text.endsWith('}'), 'the answer')
    t.match(received.text, new RegExp(`^HTTP/1\\.1 ${status} .*\\r\\nconnection: close\\r\\n`, 's'))
    t.notOk(received.isClosed)
    socket.write(Buffer.alloc(30_000_000))
    await until(() => received.isClosed, 'the end')

    const gone = await begin(line, 30_000_000)
    await until(() => gone.received.text.endsWith('}'), 'the answer')
    gone.socket.end()
    await until(() => gone.received.isClosed, 'the end')
  })
}

t.test('a route that stops reading a body leaves nothing behind in the process', async t => {
  const { begin } = await listen(t, { silenceMs: 50, answeredMs: 50 })
  const { socket, received } = await begin('PUT /gives-up', 1000)
  socket.write('abc')
  await until(() => received.isClosed, 'the end')
  t.match(received.text, /^HTTP\/1\.1 200 .*\{"size":3\}$/s)
  await delay(200)
  const other = await begin('PUT /streamed', 1)
  other.socket.write('x')
  await until(() => other.received.text.endsWith('{"size":1}'), 'the answer to another')
})

t.test('headers that do not arrive are 408, and the service closes the connection if the client does not', async t => {
  const service = await startService(t, { WORKERS: '0' })
  const socket = connect({ port: Number(new URL(service.url).port), host: '127.0.0.1', allowHalfOpen: true })
  let text = ''
  socket.on('data', data => { text += String(data) })
  socket.on('error', () => {})
  await once(socket, 'connect')
  socket.write('GET /livez HTTP/1.1\r\nHost: x\r\n')
  await once(socket, 'end')
  t.match(text, /^HTTP\/1\.1 408 Request Timeout\r\ncontent-type: application\/json; charset=utf-8\r\n/)
  t.match(text, /"status":408,"detail":"[^"]+","instance":"","code":"REQUEST_TIMEOUT"}$/)
  await until(() => new Promise<boolean>(
    resolve => { service.app.server.server.getConnections((_error, count) => { resolve(count === 0) }) }
  ), 'no connection')
  socket.destroy()
})
