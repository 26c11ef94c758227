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
import { openForeign } from '../store/open.ts'

const open = () => {
  const clock = { ms: 0 }
  // A busy turn of this one costs so many ms.
  const turns = { costMs: 0 }
  const writes = { waiting: 0 }
  const lines: Json[] = []
  const metrics = createMetrics()
  let busyMs = 0
  const overload = createOverload({
    metrics,
    log: pino({}, { write: line => { lines.push(JSON.parse(line)) } }),
    monotonicNow: () => clock.ms,
    busyMs: () => {
      busyMs += turns.costMs
      clock.ms += turns.costMs
      return busyMs
    },
    writesWaiting: () => writes.waiting
  })
  const refused = async (queue: string) => (await metrics.requestsRefused.get()).values.find(({ labels }) => labels.queue === queue)?.value ?? 0
  return { clock, turns, writes, overload, lines, refused }
}

type Opened = ReturnType<typeof open>

/** A turn that finds requests, of which each that is admitted costs so much; how many were. */
const turn = async ({ turns, overload }: Opened, requests: number, eachMs: number): Promise<number> => {
  let admitted = 0
  for (let request = 0; request < requests; request++) if (!overload.refusesRequest()) admitted++
  turns.costMs = admitted * eachMs
  await nextTurn()
  return admitted
}

t.test('a long turn now and then, and what follows it within two seconds, refuses nothing', async t => {
  const opened = open()
  for (let burst = 0; burst < 20; burst++) {
    t.equal(await turn(opened, 400, 1), 400)
    await turn(opened, 20, 1)
  }
  t.same(opened.lines, [])
})

t.test('turn after turn too long: each admits what can be done in time, until they are short again', async t => {
  const opened = open()
  for (let passed = 0; passed < 2000; passed += 100) t.equal(await turn(opened, 100, 1), 100)
  const admitted: number[] = []
  for (let i = 0; i < 20; i++) admitted.push(await turn(opened, 1000, 1))
  t.ok(admitted.slice(10).every(count => count >= 35 && count <= 45), `40 ms of each turn: ${admitted.join(', ')}`)
  t.equal(await opened.refused('requests'), admitted.reduce((sum, count) => sum + 1000 - count, 0))
  t.match(opened.lines, [{ level: 40, queue: 'requests', msg: /overloaded/ }], 'told once')
  for (let i = 0; i < 25; i++) t.equal(await turn(opened, 15, 1), 15)
  t.equal(await turn(opened, 1000, 1), 1000, 'a burst again')
})

t.test('however dear they are, some are admitted', async t => {
  const opened = open()
  for (let i = 0; i < 20; i++) await turn(opened, 100, 100)
  t.equal(await turn(opened, 100, 100), 8)
})

t.test('too many waiting writes are refused once they have waited for a while, until there are few', async t => {
  const { writes, clock, overload, lines, refused } = open()
  writes.waiting = 10_000
  t.notOk(overload.refusesWrite(), 'a burst')
  clock.ms += 1999
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
  opened.turns.costMs = 1000
  const app = fastify({ serverFactory: createGatedServers(opened.overload, () => 0) })
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

// As many as are admitted in any case.
const others = Array<string>(8).fill(get('/api/v1/jobs/a'))

/** Sends until what comes behind others is refused; its answer. */
const untilRefused = async (send: (requests: string[]) => Promise<string[]>, request: string): Promise<string> => await until(async () => {
  const answers = await send([...others, request])
  if (!answers.slice(0, 8).every(answer => answer.startsWith('HTTP/1.1 200 '))) throw new Error(`the first of a turn were not answered: ${answers.join('\n')}`)
  return answers[8]?.startsWith('HTTP/1.1 503 ') === true ? answers[8] : undefined
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

t.test('a refused body is read if it is short; else its connection ends', async t => {
  const send = await serve(t)
  const post = (length: number, body: string) => ['POST /api/v1/jobs HTTP/1.1', 'Host: x', `Content-Length: ${length}`, '', body].join('\r\n')
  t.notMatch(await untilRefused(send, post(5, 'abcde')), /^connection: close\r$/mi)
  const answers = await send([...others, post(5, 'abcde'), get('/livez')])
  t.match(answers[9], /^HTTP\/1\.1 200 /, 'what follows on the connection is answered')
  t.match(await untilRefused(send, post(100_000, 'abcde')), /^connection: close\r$/mi)
  const chunked = ['POST /api/v1/jobs HTTP/1.1', 'Host: x', 'Transfer-Encoding: chunked', '', '5', 'abcde', ''].join('\r\n')
  t.match(await untilRefused(send, chunked), /^connection: close\r$/mi)
})

t.test('operators are answered in any case', async t => {
  const send = await serve(t)
  await untilRefused(send, get('/api/v1/jobs/b'))
  const answers = await send([...others, get('/api/v1/jobs/c'), get('/livez'), get('/readyz'), get('/metrics'), get('/api/v1/jobs/c')])
  t.same(answers.slice(8).map(answer => answer.slice(9, 12)), ['503', '200', '200', '200', '503'])
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

const refusals = async ({ ask }: { ask: (path: string) => Promise<Response> }): Promise<number> =>
  Array.from((await (await ask('/metrics')).text()).matchAll(/^http_requests_refused_total\{.*\} (\d+)$/gm), ([, count]) => Number(count))
    .reduce((sum, count) => sum + count, 0)

const submission = { method: 'POST', body: { type: 'remote', input: {} } }

t.test('a service with far more to do than it can: some is refused, the rest is answered, and nothing in between', async t => {
  const service = await spawnService(t, { WORKERS: '0', LOG_LEVEL: 'info' })
  const headers = bearer()
  // Each some milliseconds of work.
  await service.sql(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
    INSERT INTO JobExecutionLog (jobId, status) SELECT 'job-' || i, 'Running' FROM n`)
  const readers = press(64, () => service.ask('/api/v1/jobs?limit=200', { headers }))
  await until(() => (readers.counts[503] ?? 0) > 20 && (readers.counts[200] ?? 0) > 20, 'reads refused and accepted', 60_000)
  t.equal((await service.ask('/readyz')).status, 200)
  await readers.stop()
  t.same(Object.keys(readers.counts), ['200', '503'])
  t.equal(await refusals(service), readers.counts[503])
  t.equal((await service.ask('/api/v1/jobs', submission)).status, 202, 'afterwards all is well')
  const told = service.lines.filter(line => line.includes('overloaded')).map(line => (JSON.parse(line) as { queue: string }).queue)
  t.same(told, ['requests'], 'told once')
})

t.test('writes that pile up behind a lock: more of them are refused, and reads go on', async t => {
  const service = await spawnService(t, { WORKERS: '0', LOG_LEVEL: 'info' })
  const foreign = openForeign(t, service.databasePath)
  foreign.exec('BEGIN IMMEDIATE')
  const waiting = Array.from({ length: 300 }, () => service.ask('/api/v1/jobs', submission))
  let refused: Response | undefined
  const more: Promise<unknown>[] = []
  await until(() => {
    more.push(service.ask('/api/v1/jobs', submission).then(answer => { if (answer.status === 503) refused ??= answer }))
    return refused !== undefined
  }, 'a refusal')
  t.match(await refused?.json(), { code: 'OVERLOADED' })
  t.equal(refused?.headers.get('retry-after'), '1')
  t.equal((await service.ask('/api/v1/jobs/nobody')).status, 404)
  foreign.exec('COMMIT')
  await Promise.all(more)
  t.equal(Number(await service.sql('SELECT count(*) FROM JobExecutionLog')), waiting.length + more.length - await refusals(service), 'what was refused was not done, what was not refused was')
  const served = (await Promise.all(waiting)).filter(({ status }) => status === 202).length
  t.ok(served >= 256, `${served} of those who waited were served`)
})
