import { once } from 'node:events'
import { connect } from 'node:net'
import { text } from 'node:stream/consumers'
import { setImmediate as nextTurn } from 'node:timers/promises'
import fastify from 'fastify'
import pino from 'pino'
import t, { type Test } from 'tap'
import { createLoadShedding, gateRequests, type LoadShedding, registerLoadShedding } from '../../../src/http/limits/load-shedding.ts'
import { createMetrics } from '../../../src/metrics.ts'
import { createNumbers } from '../../helpers/random.ts'
import { type Json, spawnService } from '../../helpers/service.ts'
import { bearer } from '../../helpers/tokens.ts'
import { until } from '../../helpers/until.ts'
import { openForeign } from '../../store/open.ts'
import { workerClaims } from '../routes/workers/worker-client.ts'

const open = () => {
  const clock = { ms: 0, busyMs: 0 }
  const writes = { waiting: 0 }
  const lines: Json[] = []
  const metrics = createMetrics()
  const overload = createLoadShedding({
    metrics,
    log: pino({}, { write: line => { lines.push(JSON.parse(line)) } }),
    monotonicNow: () => clock.ms,
    busyMs: () => clock.busyMs,
    random: createNumbers(1),
    writesWaiting: () => writes.waiting
  })
  const refused = async (queue: string) => (await metrics.requestsRefused.get()).values.find(({ labels }) => labels.queue === queue)?.value ?? 0
  return { clock, writes, overload, lines, refused }
}

type Opened = ReturnType<typeof open>

const work = ({ clock }: Opened, ms: number) => {
  clock.ms += ms
  clock.busyMs += ms
}

/** A turn that finds requests, which cost so much when they are accepted, at once or a little later; the numbers of those accepted. */
const turnOf = async (opened: Opened, requests: number, eachMs: number, { isLater = false } = {}): Promise<number[]> => {
  const accepted: number[] = []
  for (let request = 0; request < requests; request++) {
    const accept = () => {
      accepted.push(request)
      if (isLater) void Promise.resolve().then(() => { work(opened, eachMs) })
      else work(opened, eachMs)
    }
    if (opened.overload.tryAdmit()) accept()
    else {
      opened.overload.defer({
        admit: accept,
        reject: opened.overload.onRejected
      })
    }
  }
  await nextTurn()
  return accepted
}

const turn = async (...given: Parameters<typeof turnOf>): Promise<number> => (await turnOf(...given)).length

/** Turns in which nobody asks. */
const rest = async ({ clock }: Opened, ms: number) => {
  for (let i = 0; i < 3; i++) await nextTurn()
  clock.ms += ms
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

t.test('what is done while nobody asks is not held against those who ask', async t => {
  const opened = open()
  work(opened, 5000)
  for (let i = 0; i < 10; i++) {
    await turn(opened, 1, 1)
    await rest(opened, 5000)
    work(opened, 50)
  }
  t.equal(await turn(opened, 400, 1), 400)
})

t.test('a break ends it', async t => {
  const opened = open()
  for (let i = 0; i < 30; i++) await turn(opened, 100, 1)
  t.ok(await turn(opened, 100, 1) < 100)
  await rest(opened, 2000)
  t.equal(await turn(opened, 400, 1), 400)
})

t.test('whoever comes last in a turn is accepted as often as the first', async t => {
  const opened = open()
  for (let i = 0; i < 40; i++) await turn(opened, 1000, 1)
  let [early, late] = [0, 0]
  for (let i = 0; i < 100; i++) {
    const accepted = await turnOf(opened, 1000, 1)
    early += accepted.filter(request => request < 500).length
    late += accepted.filter(request => request >= 500).length
  }
  t.ok(early > 1700 && late > 1700, `${early} of the first half, ${late} of the second`)
})

t.test('what is hardly dearer than its refusal is all accepted', async t => {
  const opened = open()
  for (let i = 0; i < 40; i++) await turn(opened, 1000, 0.4)
  t.ok(await turn(opened, 1000, 0.4) < 200)
  await rest(opened, 2000)
  for (let i = 0; i < 40; i++) await turn(opened, 10_000, 0.05)
  t.equal(await turn(opened, 10_000, 0.05), 10_000)
})

t.test('work that is done after the turn counts for what caused it', async t => {
  const opened = open()
  const accepted: number[] = []
  for (let i = 0; i < 60; i++) accepted.push(await turn(opened, 100, 2, { isLater: true }))
  t.ok(accepted.slice(40).every(count => count >= 18 && count <= 22), `40 ms of each turn: ${accepted.join(', ')}`)
})

t.test('however dear they are, some are admitted', async t => {
  const opened = open()
  for (let i = 0; i < 20; i++) await turn(opened, 100, 100)
  t.equal(await turn(opened, 100, 100), 8)
})

t.test('too many waiting writes are refused once they have waited for a while, until there are few', async t => {
  const { writes, clock, overload, lines, refused } = open()
  writes.waiting = 10_000
  t.notOk(overload.rejectsWrite(), 'a burst')
  clock.ms += 1999
  t.notOk(overload.rejectsWrite())
  clock.ms += 1
  t.ok(overload.rejectsWrite())
  const refusedOf = (waiting: number, looks: number) => {
    writes.waiting = waiting
    return Array.from({ length: looks }, () => overload.rejectsWrite()).filter(Boolean).length
  }
  const half = refusedOf(256, 1000)
  t.ok(half > 450 && half < 550, `${half} of a thousand, half way between few and too many`)
  t.equal(refusedOf(384, 100), 100, 'all beyond')
  t.equal(refusedOf(128, 100), 0)
  t.equal(refusedOf(10_000, 100), 0, 'another burst')
  t.equal(await refused('writes'), 1 + half + 100)
  t.match(lines, [{ level: 40, queue: 'writes', msg: /overloaded/ }], 'told once')
})

/**
 * A gate that lets in so many requests, and a service behind it. `send` sends requests on one connection, in one piece,
 * and reads all the answers.
 */
const serve = async (t: Test, { isDraining = false } = {}) => {
  let left = 0
  let refused = 0
  const app = fastify()
  const overload: LoadShedding = {
    tryAdmit: () => left > 0 && left-- > 0,
    defer: ({ reject }) => { setImmediate(reject) },
    onRejected: () => { refused++ },
    rejectsWrite: () => false,
    rejected: new WeakSet()
  }
  app.addHook('onRequest', ({ headers: { authorization } }, reply, done) => {
    if (authorization === undefined) reply.code(401).send()
    else done()
  })
  registerLoadShedding(app, overload)
  app.setErrorHandler((_failure, _request, reply) => reply.code(503).send())
  app.all('/*', (_request, reply) => reply.code(418).send())
  gateRequests(app.server, overload, () => isDraining)
  t.teardown(() => app.close())
  await app.listen({ host: '127.0.0.1', port: 0 })
  const port = (app.server.address() as { port: number }).port
  return {
    refused: () => refused,
    send: async (admitted: number, ...requests: string[]): Promise<string[]> => {
      left = admitted
      const socket = connect(port, '127.0.0.1')
      await once(socket, 'connect')
      socket.end(requests.join(''))
      return (await text(socket)).split(/(?=HTTP\/1\.1 \d{3} )/)
    }
  }
}

const line = (first: string, ...headers: string[]): string => [`${first} HTTP/1.1`, ...headers, '', ''].join('\r\n')
const get = (path: string, ...headers: string[]): string => line(`GET ${path}`, 'Host: x', 'Authorization: Bearer a.b.c', ...headers)
const statuses = (answers: string[]): string[] => answers.map(answer => answer.slice(9, 12))
const bodyOf = (answer = ''): Json => JSON.parse(answer.slice(answer.indexOf('\r\n\r\n') + 4))

t.test('a refusal has the shape of its path, and says when to ask again', async t => {
  const { send, refused } = await serve(t)
  const [answered, problem, plain, envelope] = await send(1, get('/api/v1/jobs/a'), get('/api/v1/jobs/b?x=1'), get('/api/v1/jobs/b', 'Accept: application/json'), get('/api/jobs/b/status'))
  t.match(answered, /^HTTP\/1\.1 418 /)
  t.match(problem, /^HTTP\/1\.1 503 /)
  t.match(problem, /^content-type: application\/problem\+json; charset=utf-8\r$/m)
  t.match(problem, /^retry-after: 1\r$/m)
  t.match(problem, /^cache-control: no-store\r$/m)
  t.notMatch(problem, /^connection: close\r$/mi)
  t.match(bodyOf(problem), { type: 'about:blank', status: 503, code: 'OVERLOADED', instance: '/api/v1/jobs/b' })
  t.match(plain, /^content-type: application\/json; charset=utf-8\r$/m)
  t.match(envelope, /^content-type: application\/json; charset=utf-8\r$/m)
  t.match(bodyOf(envelope), { success: false, error: { code: 'OVERLOADED' } })
  t.equal(refused(), 3)
})

t.test('a head is refused without a body, and its connection goes on', async t => {
  const { send } = await serve(t)
  t.same(statuses(await send(0, get('/api/v1/jobs/a').replace('GET', 'HEAD'), get('/api/v1/jobs/b'))), ['503', '503'])
})

t.test('operators are answered in any case', async t => {
  const { send, refused } = await serve(t)
  t.same(statuses(await send(0, get('/livez'), get('/readyz'), get('/metrics'))), ['418', '418', '418'])
  t.equal(refused(), 0)
})

t.test('what has a body, or would be refused anyway, is the framework\'s to refuse, once it is known who asks', async t => {
  const { send, refused } = await serve(t)
  const requests = [
    get('/api/v1/jobs', 'Content-Length: 2') + '{}',
    get('/api/v1/jobs', 'Transfer-Encoding: chunked') + '0\r\n\r\n',
    get('/api/v1/jobs/a', 'Host: y'),
    line('GET /api/v1/jobs/a', 'Host: x')
  ]
  t.same(statuses(await send(0, ...requests)), ['503', '503', '503', '401'])
  t.equal(refused(), 3)
  t.same(statuses(await send(4, ...requests)), ['418', '418', '418', '401'])
})

t.test('while the service drains, a refused connection ends', async t => {
  const { send } = await serve(t, { isDraining: true })
  const answers = await send(0, get('/api/v1/jobs/a'), get('/api/v1/jobs/b'))
  t.same(statuses(answers), ['503'])
  t.match(answers[0], /^connection: close\r$/mi)
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
  const claimers = press(16, () => service.ask('/api/v1/worker/claim', { method: 'POST', claims: workerClaims, body: { types: ['nothing'] } }))
  for (const { counts } of [readers, claimers]) {
    await until(() => (counts[503] ?? 0) > 20 && (counts[200] ?? 0) + (counts[204] ?? 0) > 20, 'refused and accepted', 60_000)
  }
  t.equal((await service.ask('/readyz')).status, 200)
  await readers.stop()
  await claimers.stop()
  t.same(Object.keys(readers.counts), ['200', '503'])
  t.same(Object.keys(claimers.counts), ['204', '503'], 'with a body or without')
  t.equal(await refusals(service), (readers.counts[503] ?? 0) + (claimers.counts[503] ?? 0))
  t.equal((await service.ask('/api/v1/jobs', submission)).status, 202, 'afterwards all is well')
  const told = service.lines.filter(line => line.includes('overloaded')).map(line => (JSON.parse(line) as { queue: string }).queue)
  t.same(told, ['requests'], 'told once')
})

t.test('writes that pile up behind a lock: more of them are refused, and reads go on', async t => {
  const service = await spawnService(t, { WORKERS: '0', LOG_LEVEL: 'info' })
  const foreign = openForeign(t, service.databasePath)
  foreign.exec('BEGIN IMMEDIATE')
  const waiting = Array.from({ length: 300 }, () => service.ask('/api/v1/jobs', submission).then(({ status }) => status))
  let refused: Response | undefined
  const more: Promise<number>[] = []
  await until(() => {
    more.push(service.ask('/api/v1/jobs', submission).then(async answer => {
      const { code }: Json = await answer.clone().json()
      if (code === 'OVERLOADED') refused ??= answer
      return answer.status
    }))
    return refused !== undefined
  }, 'a refusal')
  t.match(await refused?.json(), { code: 'OVERLOADED' })
  t.equal(refused?.headers.get('retry-after'), '1')
  t.equal((await service.ask('/api/v1/jobs/nobody')).status, 404)
  foreign.exec('COMMIT')
  const accepted = (await Promise.all([...waiting, ...more])).filter(status => status === 202).length
  t.ok(accepted > 128, `${accepted} of those who waited were served`)
  t.equal(Number(await service.sql('SELECT count(*) FROM JobExecutionLog')), accepted, 'they, and nobody else')
})
