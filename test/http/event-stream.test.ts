import { get, type IncomingMessage } from 'node:http'
import fastify from 'fastify'
import t, { type Test } from 'tap'
import { openEventStream, toEventText } from '../../src/http/event-stream.ts'
import type { Wait } from '../../src/http/limits/waiting-clients.ts'

/** A stream whose pings are due when the test says so; the client reads nothing before it is asked to. */
const open = async (t: Test) => {
  let ping = (): void => {}
  let left = 0
  let ends = 0
  const { promise: ended, resolve: end } = Promise.withResolvers<Awaited<Wait['ended']>>()
  const opened = Promise.withResolvers<ReturnType<typeof openEventStream>>()
  const app = fastify({ forceCloseConnections: true })
  t.teardown(() => app.close())
  app.get('/', (_request, reply) => {
    opened.resolve(openEventStream({
      reply,
      wait: { ended, leave: () => { left++ } },
      addCorsFields: null,
      schedulePings: onPing => {
        ping = onPing
        return { cancel: () => { ping = () => {} } }
      },
      onReady: () => {},
      onEnd: () => { ends++ }
    }))
  })
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  const answer = await new Promise<IncomingMessage>((resolve, reject) => { get(url, resolve).on('error', reject) })
  return {
    answer,
    stream: await opened.promise,
    ping: () => { ping() },
    end,
    counts: () => ({ left, ends }),
    text: async () => Buffer.concat(await Array.fromAsync(answer as AsyncIterable<Buffer>)).toString()
  }
}

t.test('sends a comment when a ping is due', async t => {
  const { stream, ping, text, counts } = await open(t)
  ping()
  stream.send(toEventText({ event: 'status', id: 'a.1', data: '{}' }))
  ping()
  stream.end()
  stream.end()
  stream.send('late')
  t.equal(await text(), 'retry: 2000\n\n: ping\n\nevent: status\nid: a.1\ndata: {}\n\n: ping\n\n')
  t.same(counts(), { left: 1, ends: 1 })
})

t.test('ends with the wait of its client', async t => {
  const { end, text, counts, ping } = await open(t)
  end('token-expired')
  t.equal(await text(), 'retry: 2000\n\n')
  t.same(counts(), { left: 1, ends: 1 })
  ping()
})

t.test('a client that takes nothing for two pings in a row is disconnected', async t => {
  const { stream, ping, answer } = await open(t)
  // More than the buffers of both sides hold.
  while (stream.isReady()) {
    stream.send(`data: ${'x'.repeat(1_000_000)}\n\n`)
    await new Promise(setImmediate)
  }
  ping()
  t.equal(answer.destroyed, false)
  ping()
  await t.rejects(Array.fromAsync(answer as AsyncIterable<Buffer>), { code: 'ECONNRESET' })
})

t.test('the data of an event is one line', async t => {
  t.equal(toEventText({ event: 'gone', id: null, data: '{\r\n"a":\n1}' }), 'event: gone\ndata: {  "a": 1}\n\n')
})
