import { once } from 'node:events'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { setImmediate as nextIteration } from 'node:timers/promises'
import fastify from 'fastify'
import pino from 'pino'
import t, { type Test } from 'tap'
import { createAdmissionControl, type PendingRequest } from '../../../src/http/limits/admission.ts'
import { createAddCorsFields } from '../../../src/http/headers/cors.ts'
import { createWriteShedding, type GateNeeds, gateRequests } from '../../../src/http/limits/load-shedding.ts'
import { rejectMalformed } from '../../../src/http/limits/malformed-requests.ts'
import { createNodeServer } from '../../../src/http/limits/node-server.ts'
import { createMetrics } from '../../../src/metrics.ts'
import { reportOverload } from '../../../src/app/telemetry.ts'
import { createNumbers } from '../../helpers/random.ts'
import { type Json, workerClaims } from '../../helpers/client.ts'
import { spawnService } from '../../helpers/service.ts'
import { bearer } from '../../helpers/tokens.ts'
import { until } from '../../helpers/until.ts'
import { openForeign } from '../../store/open.ts'

const open = () => {
  const clock = { ms: 0, busyMs: 0 }
  const writes = { waiting: 0 }
  const lines: Json[] = []
  const metrics = createMetrics()
  const log = pino({}, { write: line => { lines.push(JSON.parse(line)) } })
  const monotonicNow = () => clock.ms
  const random = createNumbers(1)
  const onRejected = reportOverload(metrics, log, monotonicNow)
  const admission = createAdmissionControl({ monotonicNow, busyMs: () => clock.busyMs, random })
  const rejectsWrite = createWriteShedding({ writesWaiting: () => writes.waiting, onRejected, monotonicNow, random })
  const rejections = async (queue: string) => (await metrics.requestsRefused.get()).values.find(
    ({ labels }) => labels.queue === queue
  )?.value ?? 0
  return { clock, writes, admission, onRejected, rejectsWrite, lines, rejections }
}

type Opened = ReturnType<typeof open>

const work = ({ clock }: Opened, ms: number) => {
  clock.ms += ms
  clock.busyMs += ms
}

/**
 * An iteration of the event loop that finds requests, each of which costs so much when it is admitted, at once or a little
 * later. Returns the numbers of those admitted.
 */
const iterate = async (
  opened: Opened, requests: number, eachMs: number, { isLater = false } = {}
): Promise<number[]> => {
  const admitted: number[] = []
  for (let request = 0; request < requests; request++) {
    const admit = () => {
      admitted.push(request)
      if (isLater) void Promise.resolve().then(() => { work(opened, eachMs) })
      else work(opened, eachMs)
    }
    if (opened.admission.tryAdmit()) admit()
    else opened.admission.defer({ admit, reject: () => { opened.onRejected('requests') } })
  }
  await nextIteration()
  return admitted
}

const iteration = async (...given: Parameters<typeof iterate>): Promise<number> => (await iterate(...given)).length

/** Iterations without requests. */
const rest = async ({ clock }: Opened, ms: number) => {
  for (let i = 0; i < 3; i++) await nextIteration()
  clock.ms += ms
}

t.test('a long iteration now and then, and those within two seconds after it, reject nothing', async t => {
  const opened = open()
  for (let burst = 0; burst < 20; burst++) {
    t.equal(await iteration(opened, 400, 1), 400)
    await iteration(opened, 20, 1)
  }
  t.same(opened.lines, [])
})

t.test('after two seconds of long iterations each admits 40 ms of work, until they are short again', async t => {
  const opened = open()
  for (let passed = 0; passed < 2000; passed += 100) t.equal(await iteration(opened, 100, 1), 100)
  const admitted: number[] = []
  for (let i = 0; i < 20; i++) admitted.push(await iteration(opened, 1000, 1))
  t.ok(admitted.slice(10).every(count => count >= 35 && count <= 45), `40 ms an iteration: ${admitted.join(', ')}`)
  t.equal(await opened.rejections('requests'), admitted.reduce((sum, count) => sum + 1000 - count, 0))
  t.match(opened.lines, [{ level: 40, queue: 'requests', msg: /overloaded/ }], 'logged once')
  for (let i = 0; i < 25; i++) t.equal(await iteration(opened, 15, 1), 15)
  t.equal(await iteration(opened, 1000, 1), 1000, 'a burst again')
})

t.test('work between requests does not count against the next requests', async t => {
  const opened = open()
  work(opened, 5000)
  for (let i = 0; i < 10; i++) {
    await iteration(opened, 1, 1)
    await rest(opened, 5000)
    work(opened, 50)
  }
  t.equal(await iteration(opened, 400, 1), 400)
})

t.test('two seconds without requests end the limit, and a shorter pause does not', async t => {
  const opened = open()
  for (let i = 0; i < 30; i++) await iteration(opened, 100, 1)
  t.ok(await iteration(opened, 100, 1) < 100)
  await rest(opened, 1999)
  t.ok(await iteration(opened, 400, 1) < 100)
  await rest(opened, 2000)
  t.equal(await iteration(opened, 400, 1), 400)
})

t.test('the last requests of an iteration are admitted as often as the first', async t => {
  const opened = open()
  for (let i = 0; i < 40; i++) await iteration(opened, 1000, 1)
  let [early, late] = [0, 0]
  for (let i = 0; i < 100; i++) {
    const admitted = await iterate(opened, 1000, 1)
    early += admitted.filter(request => request < 500).length
    late += admitted.filter(request => request >= 500).length
  }
  t.ok(early > 1700 && late > 1700, `${early} of the first half, ${late} of the second`)
})

t.test('requests that cost little more than a rejection are all admitted', async t => {
  const opened = open()
  for (let i = 0; i < 40; i++) await iteration(opened, 1000, 0.4)
  t.ok(await iteration(opened, 1000, 0.4) < 200)
  await rest(opened, 2000)
  for (let i = 0; i < 40; i++) await iteration(opened, 10_000, 0.05)
  t.equal(await iteration(opened, 10_000, 0.05), 10_000)
})

t.test('work after the iteration counts for the requests that caused it', async t => {
  const opened = open()
  const admitted: number[] = []
  for (let i = 0; i < 60; i++) admitted.push(await iteration(opened, 100, 2, { isLater: true }))
  t.ok(admitted.slice(40).every(count => count >= 18 && count <= 22), `40 ms an iteration: ${admitted.join(', ')}`)
})

t.test('some requests are admitted however expensive they are', async t => {
  const opened = open()
  for (let i = 0; i < 20; i++) await iteration(opened, 100, 100)
  t.equal(await iteration(opened, 100, 100), 8)
})

t.test('rejects writes once too many have waited for two seconds, until few wait', async t => {
  const { writes, clock, rejectsWrite, lines, rejections } = open()
  writes.waiting = 10_000
  t.notOk(rejectsWrite(), 'a burst')
  clock.ms += 1999
  t.notOk(rejectsWrite())
  clock.ms += 1
  t.ok(rejectsWrite())
  const rejectedAt = (waiting: number, count: number) => {
    writes.waiting = waiting
    return Array.from({ length: count }, () => rejectsWrite()).filter(Boolean).length
  }
  const half = rejectedAt(256, 1000)
  t.ok(half > 450 && half < 550, `${half} of a thousand, half way between writesMin and writesMax`)
  t.equal(rejectedAt(384, 100), 100, 'all beyond')
  t.equal(rejectedAt(128, 100), 0)
  t.equal(rejectedAt(10_000, 100), 0, 'another burst')
  t.equal(await rejections('writes'), 1 + half + 100)
  t.match(lines, [{ level: 40, queue: 'writes', msg: /overloaded/ }], 'logged once')
})

type ServeOptions = Partial<Pick<GateNeeds, 'addCorsFields' | 'discardMs'>> &
  { isDraining?: boolean, decision?: keyof PendingRequest }

/**
 * A gate that admits so many requests and defers the others, and a service behind it. `send` sends requests on one
 * connection, in one piece, and reads all the responses.
 */
const serve = async (
  t: Test, { isDraining = false, decision = 'reject', discardMs = 300, addCorsFields = null }: ServeOptions = {}
) => {
  let left = 0
  let rejected = 0
  const gate: GateNeeds = {
    admission: {
      tryAdmit: () => left-- > 0,
      defer: request => { setImmediate(request[decision]) }
    },
    onRejected: () => { rejected++ },
    isDraining: () => isDraining,
    addCorsFields,
    discardMs
  }
  const app = fastify({
    forceCloseConnections: true,
    clientErrorHandler: rejectMalformed,
    serverFactory: handle => createNodeServer(gateRequests(handle, gate))
  })
  app.addHook('onRequest', ({ headers: { authorization } }, reply, done) => {
    if (authorization === undefined) reply.code(401).send()
    else done()
  })
  app.all('/*', (_request, reply) => reply.code(418).send())
  t.teardown(() => app.close())
  const url = await app.listen({ host: '127.0.0.1', port: 0 })
  const port = Number(new URL(url).port)
  const open = async () => {
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
    await once(socket, 'connect')
    // The service may have closed its side, with the whole response sent, while the rest of a body was still written.
    socket.on('error', () => {})
    return socket
  }
  return {
    rejected: () => rejected,
    open,
    send: async (admitted: number, ...requests: string[]): Promise<string[]> => {
      left = admitted
      const socket = await open()
      socket.end(requests.join(''))
      return (await text(socket)).split(/(?=HTTP\/1\.1 \d{3} )/)
    }
  }
}

const line = (first: string, ...headers: string[]): string => [`${first} HTTP/1.1`, ...headers, '', ''].join('\r\n')
const get = (path: string, ...headers: string[]): string => line(
  `GET ${path}`, 'Host: x', 'Authorization: Bearer a.b.c', ...headers
)
const statuses = (answers: string[]): string[] => answers.map(answer => answer.slice(9, 12))
const bodyOf = (answer = ''): Json => JSON.parse(answer.slice(answer.indexOf('\r\n\r\n') + 4))

t.test('a rejection has the shape of its path, and says when to retry', async t => {
  const { send, rejected } = await serve(t)
  const [handled, problem, plain, envelope] =
    await send(
      1, get('/api/v1/jobs/a'), get('/api/v1/jobs/b?x=1'), get('/api/v1/jobs/b', 'Accept: application/json'),
      get('/api/jobs/b/status')
    )
  t.match(handled, /^HTTP\/1\.1 418 /)
  t.match(problem, /^HTTP\/1\.1 503 /)
  t.match(problem, /^content-type: application\/problem\+json; charset=utf-8\r$/m)
  t.match(problem, /^retry-after: 1\r$/m)
  t.match(problem, /^cache-control: no-store\r$/m)
  t.notMatch(problem, /^connection: close\r$/mi)
  t.match(bodyOf(problem), { type: 'about:blank', status: 503, code: 'OVERLOADED', instance: '/api/v1/jobs/b' })
  t.match(plain, /^content-type: application\/json; charset=utf-8\r$/m)
  t.match(envelope, /^content-type: application\/json; charset=utf-8\r$/m)
  t.match(bodyOf(envelope), { success: false, error: { code: 'OVERLOADED' } })
  t.equal(rejected(), 3)
})

t.test('a page of a listed origin can read a rejection', async t => {
  const { send } = await serve(t, { addCorsFields: createAddCorsFields(['https://app.example.org']) })
  const [listed, other] = await send(
    0, get('/api/v1/jobs/a', 'Origin: https://app.example.org'), get('/api/v1/jobs/a', 'Origin: https://elsewhere.example')
  )
  t.match(listed, /^HTTP\/1\.1 503 /)
  t.match(listed, /^access-control-allow-origin: https:\/\/app\.example\.org\r$/m)
  t.match(listed, /^access-control-expose-headers: .*Retry-After.*\r$/m)
  t.match(listed, /^vary: Origin\r$/m)
  t.notMatch(other, /^access-control-allow-origin/m)
})

t.test('rejects a HEAD without a body, and keeps its connection', async t => {
  const { send } = await serve(t)
  t.same(statuses(await send(0, get('/api/v1/jobs/a').replace('GET', 'HEAD'), get('/api/v1/jobs/b'))), ['503', '503'])
})

t.test('a rejected HEAD gets its headers before its body has arrived', async t => {
  const { open } = await serve(t, { discardMs: 600_000 })
  const socket = await open()
  socket.write(line('HEAD /api/v1/jobs/a', 'Host: x', 'Authorization: Bearer a.b.c', 'Content-Length: 9'))
  const [headers] = await once(socket, 'data') as [Buffer]
  t.match(headers.toString(), /^HTTP\/1\.1 503 /)
  t.equal(socket.readableEnded, false, 'the connection still takes the body')
  socket.destroy()
})

t.test('always handles requests of operators, and those that get 401 anyway', async t => {
  const { send, rejected } = await serve(t)
  t.same(statuses(await send(0, get('/livez'), get('/readyz'), get('/metrics'))), ['418', '418', '418'])
  t.equal(statuses(await send(0, line('GET /api/v1/jobs/a', 'Host: x')))[0], '401')
  t.equal(statuses(await send(0, line('POST /api/v1/jobs', 'Host: x', 'Content-Length: 2') + '{}'))[0], '401')
  t.equal(statuses(await send(0, line('GET http://x/api/v1/jobs/a', 'Host: x')))[0], '401', 'the absolute form')
  t.equal(rejected(), 0)
  t.equal(statuses(await send(0, line('GET /docs', 'Host: x')))[0], '503', 'a public page')
})

t.test('discards the body of a rejected request, and takes no byte of it for the next request', async t => {
  const { send, rejected } = await serve(t)
  const hidden = get('/api/v1/jobs/hidden')
  const requests = [
    get('/api/v1/jobs', 'Content-Length: 2') + '{}',
    get('/api/v1/jobs', 'Transfer-Encoding: chunked') + `${hidden.length.toString(16)}\r\n${hidden}\r\n0\r\n\r\n`,
    get('/api/v1/jobs', `Content-Length: ${hidden.length}`) + hidden,
    get('/api/v1/jobs/b')
  ]
  t.same(statuses(await send(0, ...requests)), ['503', '503', '503', '503'])
  t.equal(rejected(), 4)
  t.same(statuses(await send(4, ...requests)), ['418', '418', '418', '418'])
})

t.test('a client that still sends its body sees the rejection, and its connection ends with the body', async t => {
  const { open } = await serve(t)
  const socket = await open()
  const received = text(socket)
  socket.write(get('/api/v1/jobs', 'Content-Length: 30000000').replace('GET', 'PUT'))
  await once(socket, 'readable')
  socket.write(Buffer.alloc(30_000_000))
  const answers = (await received).split(/(?=HTTP\/1\.1 \d{3} )/)
  t.same(statuses(answers), ['503'])
  t.match(answers[0], /^connection: close\r$/mi)
  t.match(bodyOf(answers[0]), { code: 'OVERLOADED' })
  socket.end()
})

t.test('a rejected client that never sends its body loses its connection', async t => {
  const { open } = await serve(t)
  const socket = await open()
  socket.write(get('/api/v1/jobs', 'Content-Length: 30000000').replace('GET', 'PUT'))
  t.same(statuses([await text(socket)]), ['503'])
  socket.end()
})

t.test('an ambiguous request is 400 and closes its connection, admitted or not', async t => {
  const ambiguous = get('/api/v1/jobs/a', 'Host: y')
  for (const decision of ['admit', 'reject'] as const) {
    const { send } = await serve(t, { decision })
    const [ok] = decision === 'admit' ? ['418'] : ['503']
    t.same(statuses(await send(0, ambiguous, get('/api/v1/jobs/b'))), ['400'], decision)
    t.same(statuses(await send(
      0, get('/api/v1/jobs/a'), ambiguous, get('/api/v1/jobs/b')
    )), [ok], `${decision}, behind another`)
  }
})

t.test('a request whose connection closes before the decision is not handled', async t => {
  const { send } = await serve(t, { decision: 'admit' })
  t.same(statuses(await send(0, get('/api/v1/jobs', 'Transfer-Encoding: chunked') + 'no size\r\n')), ['400'])
})

t.test('while the service drains, a rejection ends its connection', async t => {
  const { send } = await serve(t, { isDraining: true })
  const answers = await send(0, get('/api/v1/jobs/a'), get('/api/v1/jobs/b'))
  t.same(statuses(answers), ['503'])
  t.match(answers[0], /^connection: close\r$/mi)
})

/** Sends requests again and again, so many at once, until `stop`. Counts the responses by status code. */
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

const rejections = async ({ ask }: { ask: (path: string) => Promise<Response> }): Promise<number> =>
  Array.from(
    (await (await ask('/metrics')).text()).matchAll(/^http_requests_refused_total\{.*\} (\d+)$/gm),
    ([, count]) => Number(count)
  )
    .reduce((sum, count) => sum + count, 0)

const submission = { method: 'POST', body: { type: 'remote', input: {} } }

t.test('under overload some requests are rejected completely, and the others are done completely', async t => {
  const service = await spawnService(t, { WORKERS: '0', LOG_LEVEL: 'info' })
  const headers = bearer()
  // Each some milliseconds of work.
  await service.sql(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
    INSERT INTO JobExecutionLog (jobId, status) SELECT 'job-' || i, 'Running' FROM n`)
  const readers = press(64, () => service.ask('/api/v1/jobs?limit=200', { headers }))
  const claimers = press(16, () => service.ask('/api/v1/worker/claim', {
    method: 'POST', claims: workerClaims, body: { types: ['nothing'] }
  }))
  for (const { counts } of [readers, claimers]) {
    await until(
      () => (counts[503] ?? 0) > 20 && (counts[200] ?? 0) + (counts[204] ?? 0) > 20, 'rejections and responses', 60_000
    )
  }
  t.equal((await service.ask('/readyz')).status, 200)
  await readers.stop()
  await claimers.stop()
  t.same(Object.keys(readers.counts), ['200', '503'])
  t.same(Object.keys(claimers.counts), ['204', '503'], 'with a body or without')
  t.equal(await rejections(service), (readers.counts[503] ?? 0) + (claimers.counts[503] ?? 0))
  t.equal((await service.ask('/api/v1/jobs', submission)).status, 202, 'afterwards the service accepts submissions')
  const logged = service.lines.filter(line => line.includes('overloaded')).map(
    line => (JSON.parse(line) as { queue: string }).queue
  )
  t.same(logged, ['requests'], 'logged once')
})

t.test('writes that pile up behind a lock: later ones are rejected, and reads go on', async t => {
  const service = await spawnService(t, { WORKERS: '0', LOG_LEVEL: 'info' })
  const foreign = openForeign(t, service.databasePath)
  foreign.exec('BEGIN IMMEDIATE')
  const waiting = Array.from(
    { length: 300 }, () => service.ask('/api/v1/jobs', submission).then(({ status }) => status)
  )
  let rejected: Response | undefined
  const more: Promise<number>[] = []
  await until(() => {
    more.push(service.ask('/api/v1/jobs', submission).then(async answer => {
      const { code }: Json = await answer.clone().json()
      if (code === 'OVERLOADED') rejected ??= answer
      return answer.status
    }))
    return rejected !== undefined
  }, 'a rejection')
  t.match(await rejected?.json(), { code: 'OVERLOADED' })
  t.equal(rejected?.headers.get('retry-after'), '1')
  t.equal((await service.ask('/api/v1/jobs/no-such-job')).status, 404)
  foreign.exec('COMMIT')
  const accepted = (await Promise.all([...waiting, ...more])).filter(status => status === 202).length
  t.ok(accepted > 128, `${accepted} of those that waited were served`)
  t.equal(Number(await service.sql('SELECT count(*) FROM JobExecutionLog')), accepted, 'they, and no other')
})
