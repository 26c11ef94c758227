import t, { type Test } from 'tap'
import type { Json } from '../helpers/client.ts'
import { spawnService } from '../helpers/service.ts'
import { type Fault, startFaultyProxy } from './fuzz/faulty-proxy.ts'
import { fuzz, type FuzzReport, operationsOf } from './fuzz/fuzzer.ts'
import { createRandom } from '../helpers/random.ts'
import { createKnown } from './fuzz/known.ts'
import { nextRequest } from './fuzz/requests.ts'

/*
 * Requests of every kind, made from the OpenAPI document, good ones, wrong ones and damaged ones: each is answered once,
 * as the document says, and the service neither fails nor falls.
 *
 * FUZZ_REQUESTS says how many (at least 100,000 for a long run); FUZZ_SEED, as a run prints it, repeats it.
 */

const requests = Number(process.env.FUZZ_REQUESTS ?? '2000')
const seed = Number(process.env.FUZZ_SEED ?? Date.now() % 2 ** 31)
// A busy machine still sends tens of them a second.
const secondsMax = 100 + requests / 5

const start = async (t: Test) => {
  const service = await spawnService(t, {
    WORKERS: '1', LOG_LEVEL: 'info', INPUT_BYTES_MAX: '300000', LEASE_SECONDS: '30'
  })
  const document: Json = await (await fetch(`${service.url}/openapi.json`)).json()
  return { service, document }
}

const report = (t: Test, { sent, damaged, violations, met }: FuzzReport, seed: number) => {
  for (const { at, fault, bytes } of violations) {
    t.fail(`FUZZ_SEED=${seed}, request ${at}: ${encodeURI(fault)}`, {
      request: bytes.toString('latin1').slice(0, 3000)
    })
  }
  t.comment(
    `${sent} requests, ${damaged} of them damaged, ${met.size} kinds of answers, ${violations.length} violations, FUZZ_SEED=${seed}`
  )
}

t.test('every response is as documented, whatever was sent, and the service keeps running', {
  timeout: secondsMax * 1000
}, async t => {
  const { service, document } = await start(t)
  // What it has to meet: else it would not get where faults are.
  const wanted = [
    'POST /api/v1/jobs 202', 'POST /api/v1/jobs 400', 'GET /api/v1/jobs/{jobId} 200', 'GET /api/v1/jobs/{jobId} 304',
    'GET /api/v1/jobs/{jobId} 404', 'GET /api/v1/jobs 200', 'POST /api/v1/worker/claim 200',
    'POST /api/v1/worker/jobs/{jobId}/progress 200', 'PUT /api/v1/worker/jobs/{jobId}/result 200',
    'POST /api/v1/worker/jobs/{jobId}/complete 200',
    'POST /api/sanitize 200', 'POST /api/sanitize/async 202', 'GET /api/v1/jobs/{jobId}/result 202'
  ]
  let met = new Set<string>()
  // One run of this size may miss a kind of answer by chance.
  for (let run = 0; run < 4 && !wanted.every(kind => met.has(kind)); run++) {
    const found = await fuzz({ url: service.url, document, seed: seed + run, requests })
    report(t, found, seed + run)
    t.equal(found.violations.length, 0)
    t.equal(found.sent, requests)
    met = new Set([...met, ...found.met.keys()])
  }
  for (const kind of wanted) t.ok(met.has(kind), kind)
  t.equal(service.process.exitCode, null, 'it runs')
  t.equal((await fetch(`${service.url}/readyz`)).status, 200, 'and is ready')
  t.same(service.lines.filter(line => /"level":(50|60)|the request failed/.test(line))
    .slice(0, 5), [], 'and has no error in its log')
  t.equal((await service.kill('SIGTERM')).code, 0, 'and ends on SIGTERM')
})

const json = { 'content-type': 'application/json; charset=utf-8' }

const respond = (
  response: Parameters<Fault>[2], status: number, body: string, headers: Record<string, string> = json
) => {
  response.writeHead(status, { ...headers, 'content-length': Buffer.byteLength(body) }).end(body)
  return true
}

/** What a service could do wrong, each seen on the wire. */
const faults: Record<string, Fault> = {
  'a status that is not documented': (
    request, { status }, response
  ) => status === 404 && request.method === 'GET' && respond(response, 402, '{}'),
  'a thrown TypeError': (
    _request, { status }, response
  ) => status === 202 && respond(response, 500, '{"message":"Cannot read properties of undefined"}'),
  'a stack in a rejection': (_request, { status, body }, response) => status === 400 && respond(
    response, 400, body.toString().replace('"detail":"', '"detail":"\\n    at parse (file:///srv/x.ts:1:1) ')
  ),
  'a member more': (_request, { status, body }, response) => status === 202 && body.includes('"jobId"') && respond(
    response, 202, body.toString().replace('{', '{"secret":1,')
  ),
  'a top-level error in a good answer': (_request, { status, body }, response) => status === 200 && body.includes(
    '"success":true'
  ) && respond(response, 200, body.toString().replace('{', '{"error":null,')),
  'no JSON': (_request, { status }, response) => status === 202 && respond(response, 202, '<html>'),
  'another media type': (
    _request, { status, body }, response
  ) => status === 202 && respond(response, 202, body.toString(), { 'content-type': 'text/html' }),
  'a header that is not documented': (request, { status, body }, response) => status === 200 &&
    request.url === '/livez' && respond(response, 200, body.toString(), { ...json, 'x-powered-by': 'x' }),
  'a second answer': (request, { status, body }) => {
    if (status !== 401) return false
    request.socket.write(
      `HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Bearer\r\ncontent-type: application/json\r\ncontent-length: ${body.byteLength}\r\n\r\n${body.toString()}HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n`
    )
    return true
  },
  'no answer, and closed': (
    request, { status }
  ) => status === 404 && request.method === 'GET' && request.socket.destroy().destroyed,
  'half an answer': (request, { status }) => {
    if (status !== 202) return false
    request.socket.end('HTTP/1.1 202 Accepted\r\ncontent-length: 100\r\n\r\n{')
    return true
  },
  'a body framed twice': (request, { status }) => status === 202 && request.socket.write(
    'HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}'
  ) !== undefined
}

t.test('the fuzzer finds a service that breaks its document', { timeout: 120_000 }, async t => {
  const { service, document } = await start(t)
  for (const [what, fault] of Object.entries(faults)) {
    const url = await startFaultyProxy(t, service.url, fault)
    const { sent, violations: [violation] } = await fuzz({
      url, document, seed: 1, requests: 2000, violationsMax: 1, isWholeOnly: true
    })
    t.ok(violation, `${what}, after ${sent} requests: ${encodeURI(violation?.fault ?? '').slice(0, 100)}`)
  }
})

t.test('the same seed makes the same requests', async t => {
  const { document } = await start(t)
  const run = (seed: number) => {
    const random = createRandom(seed)
    return Array.from(
      { length: 300 }, () => nextRequest(operationsOf(document), createKnown(), random).bytes.toString('latin1')
    )
  }
  t.same(run(7), run(7))
  t.not(run(7).join(), run(8).join())
})
