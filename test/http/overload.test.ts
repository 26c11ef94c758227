import { once } from 'node:events'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { setImmediate as nextTurn } from 'node:timers/promises'
import fastify from 'fastify'
import pino from 'pino'
import t, { type Test } from 'tap'
import { createGatedServers, createOverload } from '../../src/http/overload.ts'
import { createMetrics } from '../../src/metrics.ts'
import { type Json, spawnService } from '../helpers/service.ts'
import { bearer } from '../helpers/tokens.ts'
import { until } from '../helpers/until.ts'

const open = () => {
  const clock = { ms: 0, stepMs: 0 }
  const writes = { waiting: 0 }
  const lines: Json[] = []
  const metrics = createMetrics()
  const overload = createOverload({
    metrics,
    log: pino({}, { write: line => { lines.push(JSON.parse(line)) } }),
    monotonicNow: () => { clock.ms += clock.stepMs; return clock.ms },
    writesWaiting: () => writes.waiting
  })
  const refused = async (queue: string) => (await metrics.requestsRefused.get()).values.find(({ labels }) => labels.queue === queue)?.value ?? 0
  return { clock, writes, overload, lines, refused }
}

type Opened = ReturnType<typeof open>

/** A turn that finds requests, each so long after the one before; which of them were refused. */
const turn = async ({ clock, overload }: Opened, requests: number, eachMs: number): Promise<boolean[]> => {
  const refused: boolean[] = []
  for (let request = 0; request < requests; request++) {
    refused.push(overload.refusesRequest())
    clock.ms += eachMs
  }
  await nextTurn()
  return refused
}

t.test('a long turn now and then, and what follows it within half a second, refuses nothing', async t => {
  const opened = open()
  for (let burst = 0; burst < 20; burst++) {
    t.notOk((await turn(opened, 4, 100)).includes(true))
    await turn(opened, 2, 1)
  }
  t.same(opened.lines, [])
})

t.test('turn after turn too long: what comes late in one is refused, until they are short again', async t => {
  const opened = open()
  for (let passed = 0; passed < 600; passed += 100) t.same(await turn(opened, 10, 10), Array(10).fill(false))
  t.same(await turn(opened, 10, 10), [false, false, false, false, false, false, true, true, true, true], 'after 50 ms of a turn')
  t.same((await turn(opened, 10, 10)).lastIndexOf(false), 5)
  t.equal(await opened.refused('requests'), 8)
  t.match(opened.lines, [{ level: 40, queue: 'requests', msg: /overloaded/ }], 'told once')
  await turn(opened, 3, 1)
  t.notOk((await turn(opened, 10, 10)).includes(true))
})

t.test('too many waiting writes are refused once they have waited for a while, until there are few', async t => {
  const { writes, clock, overload, lines, refused } = open()
  writes.waiting = 10_000
  t.notOk(overload.refusesWrite(), 'a burst')
  clock.ms += 499
  t.notOk(overload.refusesWrite())
  clock.ms += 1
  t.ok(overload.refusesWrite())
  writes.waiting = 256
  t.notOk(overload.refusesWrite(), 'as many as may wait')
  writes.waiting = 257
  t.ok(overload.refusesWrite(), 'the queue was never short')
  writes.waiting = 128
  t.notOk(overload.refusesWrite())
  writes.waiting = 10_000
  t.notOk(overload.refusesWrite(), 'another burst')
  t.equal(await refused('writes'), 2)
  t.match(lines, [{ level: 40, queue: 'writes', msg: /overloaded/ }], 'told once')
})

/** A server whose every turn is too long; sends requests on one connection, in one piece, and reads all the answers. */
const serve = async (t: Test): Promise<(requests: string[]) => Promise<string[]>> => {
  const opened = open()
  opened.clock.stepMs = 60
  const app = fastify({ serverFactory: createGatedServers(opened.overload) })
  app.all('/*', () => 'answered')
  t.teardown(() => app.close())
  await app.listen({ host: '127.0.0.1', port: 0 })
  const port = (app.server.address() as { port: number }).port
  return async requests => {
    const socket = connect(port, '127.0.0.1')
    await once(socket, 'connect')
    socket.end(requests.join(''))
    return (await text(socket)).split(/(?=HTTP\/1\.1 \d{3} )/)
  }
}

const get = (path: string, ...headers: string[]): string => [`GET ${path} HTTP/1.1`, 'Host: x', ...headers, '', ''].join('\r\n')

/** Sends until the second of two requests is refused; its answer. */
const untilRefused = async (send: (requests: string[]) => Promise<string[]>, request: string): Promise<string> => await until(async () => {
  const [first, second] = await send([get('/api/v1/jobs/a'), request])
  if (first?.startsWith('HTTP/1.1 200 ') !== true) throw new Error(`the first of a turn was not answered: ${first}`)
  return second?.startsWith('HTTP/1.1 503 ') === true ? second : undefined
}, 'a refusal')

const bodyOf = (answer: string): Json => JSON.parse(answer.slice(answer.indexOf('\r\n\r\n') + 4))

t.test('a refusal has the shape of its path, and says when to ask again', async t => {
  const send = await serve(t)
  const problem = await untilRefused(send, get('/api/v1/jobs/b?x=1'))
  t.match(problem, /^content-type: application\/problem\+json; charset=utf-8\r$/m)
  t.match(problem, /^retry-after: 1\r$/m)
  t.match(problem, /^cache-control: no-store\r$/m)
  t.notMatch(problem, /^connection: close\r$/mi)
  t.match(bodyOf(problem), { type: 'about:blank', status: 503, code: 'OVERLOADED', instance: '/api/v1/jobs/b' })
  t.match(await untilRefused(send, get('/api/v1/jobs/b', 'Accept: application/json')), /^content-type: application\/json; charset=utf-8\r$/m)
  const envelope = await untilRefused(send, get('/api/jobs/b/status'))
  t.match(envelope, /^content-type: application\/json; charset=utf-8\r$/m)
  t.match(bodyOf(envelope), { success: false, error: { code: 'OVERLOADED' } })
})

t.test('a refused body is not read, and its connection ends', async t => {
  const send = await serve(t)
  const post = ['POST /api/v1/jobs HTTP/1.1', 'Host: x', 'Content-Length: 5', '', 'abcde'].join('\r\n')
  t.match(await untilRefused(send, post), /^connection: close\r$/mi)
})

t.test('operators are answered in any case', async t => {
  const send = await serve(t)
  await untilRefused(send, get('/api/v1/jobs/b'))
  for (const path of ['/livez', '/readyz', '/metrics']) {
    const [, second, third] = await send([get('/api/v1/jobs/a'), get(path), get('/api/v1/jobs/c')])
    t.match(second, /^HTTP\/1\.1 200 /, path)
    t.match(third, /^HTTP\/1\.1 503 /, 'while others are not')
  }
})

/** Asks again and again, so many at once, until told to stop; what came back, by status code. */
const press = (clients: number, ask: () => Promise<Response>) => {
  const counts: Record<number, number> = {}
  let isOver = false
  const client = async () => {
    while (!isOver) {
      const answer = await ask()
      await answer.text()
      counts[answer.status] = (counts[answer.status] ?? 0) + 1
    }
  }
  const clientsDone = Promise.all(Array.from({ length: clients }, client))
  return { counts, stop: async () => { isOver = true; await clientsDone } }
}

const sample = async ({ ask }: { ask: (path: string) => Promise<Response> }, line: RegExp) => Number(line.exec(await (await ask('/metrics')).text())?.[1] ?? 0)

t.test('a service with far more to do than it can: some is refused, the rest is done, and nothing in between', async t => {
  const service = await spawnService(t, { WORKERS: '0', LOG_LEVEL: 'info' })
  const submission = { method: 'POST', body: { type: 'remote', input: {} } }
  const writers = press(600, () => service.ask('/api/v1/jobs', submission))
  await until(() => (writers.counts[503] ?? 0) > 100 && (writers.counts[202] ?? 0) > 100, 'writes refused and accepted', 60_000)
  t.equal((await service.ask('/livez')).status, 200)
  await writers.stop()
  t.same(Object.keys(writers.counts), ['202', '503'])
  t.equal(Number(await service.sql('SELECT count(*) FROM JobExecutionLog')), writers.counts[202], 'what was refused was not done')
  t.equal(await sample(service, /^http_requests_refused_total\{queue="writes"\} (\d+)$/m), writers.counts[503])

  const headers = bearer()
  const readers = press(64, () => service.ask('/api/v1/jobs?limit=200', { headers }))
  await until(() => (readers.counts[503] ?? 0) > 20 && (readers.counts[200] ?? 0) > 20, 'reads refused and accepted', 60_000)
  t.equal((await service.ask('/readyz')).status, 200)
  await readers.stop()
  t.same(Object.keys(readers.counts), ['200', '503'])
  t.equal((await service.ask('/api/v1/jobs', submission)).status, 202, 'afterwards all is well')
  const told = service.lines.filter(line => line.includes('overloaded')).map(line => (JSON.parse(line) as { queue: string }).queue)
  t.same(told, ['writes', 'requests'], 'each told once')
})
