import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { startLoad } from '../load.ts'
import { until } from '../../test/helpers/until.ts'

const listen = async (t: Test, answer: RequestListener): Promise<string> => {
  const server = createServer(answer).listen(0, '127.0.0.1')
  t.teardown(() => { server.close() })
  await once(server, 'listening')
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

const get = (path: string): Buffer => Buffer.from(`GET ${path} HTTP/1.1\r\nhost: bench\r\n\r\n`)

t.test('sends each request once, waits for all responses and counts only after begin', async t => {
  const paths: string[] = []
  const url = await listen(t, (request, response) => {
    paths.push(request.url ?? '')
    response.end('ok')
  })
  let sent = 0
  const load = startLoad({ url, connections: 4, rate: null, nextRequest: () => get(`/${sent++}`), expectedStatus: 200 })
  await until(() => load.answeredSoFar() >= 100)
  load.begin()
  await until(() => load.answeredSoFar() >= 300)
  const counts = load.end()
  await load.stop()
  const inOrder = paths.toSorted((a, b) => Number(a.slice(1)) - Number(b.slice(1)))
  t.same(inOrder, Array.from({ length: sent }, (_, n) => `/${n}`))
  t.equal(load.answeredSoFar(), sent, 'it waited for the pending responses')
  t.equal(counts.histogram.totalCount, counts.answered)
  t.ok(counts.answered <= sent - 100)
  t.same(load.failures(), { errors: 0, unexpected: 0 })
})

t.test('spreads a fixed rate over the time instead of sending bursts', async t => {
  const arrivals: number[] = []
  const url = await listen(t, (_request, response) => {
    arrivals.push(performance.now())
    response.end()
  })
  const load = startLoad({ url, connections: 10, rate: 400, nextRequest: () => get('/'), expectedStatus: 200 })
  await until(() => arrivals.length >= 200)
  await load.stop()
  const [first = 0, last = 0] = [arrivals[0], arrivals.at(-1)]
  const early = arrivals.filter(at => at < first + (last - first) / 2).length
  t.ok(early < arrivals.length * 0.9, `${early} of ${arrivals.length} arrived in the first half of the time`)
})

t.test('counts delayed requests, with a latency from the time at which they were due', async t => {
  const held: Array<() => void> = []
  let isHolding = false
  const url = await listen(t, (_request, response) => {
    if (isHolding) held.push(() => response.end())
    else response.end()
  })
  const load = startLoad({ url, connections: 1, rate: 100, nextRequest: () => get('/'), expectedStatus: 200 })
  await until(() => load.answeredSoFar() >= 5)
  isHolding = true
  load.begin()
  await until(() => held.length === 1)
  const began = performance.now()
  // Long enough for twenty more requests to become due on the only connection.
  await new Promise(resolve => { setTimeout(resolve, 220) })
  const heldMicros = (performance.now() - began) * 1000
  isHolding = false
  const answeredBefore = load.answeredSoFar()
  held[0]?.()
  await until(() => load.answeredSoFar() >= answeredBefore + 20)
  const { histogram } = load.end()
  await load.stop()
  t.ok(histogram.getValueAtPercentile(75) > heldMicros / 2,
    'a quarter of the requests were late by more than half of the pause')
})

t.test('reports broken connections and unexpected status codes', async t => {
  let answered = 0
  const url = await listen(t, (_request, response) => {
    answered++
    if (answered === 20) return response.destroy()
    response.statusCode = answered > 40 ? 500 : 200
    response.end()
  })
  const load = startLoad({ url, connections: 2, rate: null, nextRequest: () => get('/'), expectedStatus: 200 })
  load.begin()
  await until(() => answered > 100)
  const { statusCodes } = load.end()
  await load.stop()
  const { errors, unexpected } = load.failures()
  t.ok(errors >= 1, `${errors} errors`)
  t.ok(unexpected >= 60, `${unexpected} unexpected`)
  t.ok((statusCodes[500] ?? 0) > 0)
})
