import { Readable } from 'node:stream'
import fastify from 'fastify'
import { pino } from 'pino'
import t from 'tap'
import { createLogResponse, registerAccessLog } from '../../src/http/access-log.ts'
import { createMetrics } from '../../src/metrics.ts'
import type { Json } from '../helpers/client.ts'
import { startService } from '../helpers/service.ts'
import { token } from '../helpers/tokens.ts'
import { until } from '../helpers/until.ts'

const service = await startService(t)
const { ask } = service

const secretText = 'a-word-that-stands-only-in-the-input'
const bearerToken = token({ sub: 'ann' })
const headers = { authorization: `Bearer ${bearerToken}` }

/** The lines about one request, found by the id that the client gave it. */
const linesOf = (reqId: string) => service.logs.filter(line => line.reqId === reqId)

t.test('a submission, a poll and a download are logged with the request id and the job id', async t => {
  const body = { type: 'sanitize', input: { content: `<b>${secretText}</b>`, contentType: 'text/html' } }
  const submitted: Json = await (await ask('/api/v1/jobs', {
    method: 'POST', body, headers: { ...headers, 'x-request-id': 'round-submit' }
  })).json()
  await service.finished(submitted.jobId, { headers })
  await ask(`/api/v1/jobs/${submitted.jobId}`, { headers: { ...headers, 'x-request-id': 'round-poll' } })
  const result = await ask(`/api/jobs/${submitted.jobId}/result`, {
    headers: { ...headers, 'x-request-id': 'round-result' }
  })
  t.match(await result.text(), secretText)
  for (const [reqId, method, status] of [
    ['round-submit', 'POST', 202], ['round-poll', 'GET', 200], ['round-result', 'GET', 200]
  ] as const) {
    const answered = await until(() => linesOf(reqId).find(line => line.msg === 'answered'))
    t.match(answered, { method, status, ms: Number, route: String }, reqId)
    t.ok(linesOf(reqId).some(line => line.jobId === submitted.jobId), `${reqId}: the job is named`)
  }
})

t.test('the duration is that until the response begins, and the log has it in hundredths of a millisecond', async t => {
  const clock = { ms: 1000 }
  const lines: Json[] = []
  const metrics = createMetrics()
  const needs = {
    metrics,
    log: pino({ level: 'debug' }, { write: (line: string) => { lines.push(JSON.parse(line)) } }),
    monotonicNow: () => clock.ms,
    isDraining: () => false
  }
  const app = fastify()
  t.teardown(() => app.close())
  registerAccessLog(app, createLogResponse(needs), needs)
  app.get('/download', { config: { kind: 'download' } }, (_request, reply) => {
    clock.ms += 1.23456
    return reply.send(Readable.from((async function * () {
      yield 'a'
      clock.ms += 60_000
      yield 'b'
    })(), { objectMode: false }))
  })
  t.equal((await app.inject('/download')).body, 'ab')
  await until(() => lines.length > 0)
  t.match(lines, [{ msg: 'answered', ms: 1.23 }])
  t.match(await metrics.registry.metrics(), /_sum\{method="GET",route="\/download",status="200",kind="download"\} 0\.00123\d*\n/)
})

t.test('a request without a valid X-Request-Id gets a new id', async t => {
  for (const id of ['', 'a b', 'x'.repeat(65), '{"level":60}']) {
    const name = `unknown-${id.length}`
    await ask(`/api/v1/jobs/${name}`, { headers: { 'x-request-id': id } })
    t.match((await until(() => service.logs.find(line => line.jobId === name))).reqId, /^[\w-]{16}-\d+$/)
  }
})

t.test('failures are logged without the content of the request', async t => {
  const broken = [
    `{"type":"x","input":"${secretText}"`, `{"type":"x","input":1,"${secretText}":1}`,
    `{"type":"sanitize","input":{"content":"${secretText}","contentType":"${secretText}"}}`
  ]
  for (const body of broken) t.equal((await ask('/api/v1/jobs', { method: 'POST', body, headers })).status, 400)
  for (const authorization of [`Bearer ${bearerToken}x`, `Basic ${secretText}`, secretText]) {
    t.equal((await ask('/api/v1/jobs/no-such-job', { headers: { authorization } })).status, 401)
  }
  t.equal((await ask(`/api/v1/jobs/no-such-job?token=${secretText}`, {
    headers: { ...headers, cookie: secretText }
  })).status, 404)
  const damaged =
    `INSERT INTO JobExecutionLog (jobId, status, errorDetails, progressMessage) VALUES ('bad', '${secretText}', '${secretText}', '${secretText}')`
  await service.sql(`PRAGMA ignore_check_constraints = ON; ${damaged}`)
  t.equal((await ask('/api/v1/jobs/bad', { headers })).status, 500)
  await until(() => service.logs.some(line => line.msg === 'answered' && line.status === 500))
})

t.test('no line has a token, an Authorization header or a piece of the input', async t => {
  const [, payload = '', signature = ''] = bearerToken.split('.')
  t.ok(service.logs.length > 10)
  for (const line of service.logs) {
    const text = JSON.stringify(line)
    // The header as it was sent; a reason may say what form it should have.
    t.notMatch(text, /"authorization"|bearer [\w.-]/i)
    for (const secret of [secretText, payload, signature]) t.notOk(text.includes(secret), text.slice(0, 100))
  }
})

t.test('failures of the service are logged as errors, those of the client are not', async t => {
  const statuses = (level: number) => new Set(
    service.logs.filter(line => line.msg === 'answered' && line.level === level).map(line => line.status)
  )
  t.same(statuses(50), new Set([500]))
  t.same(statuses(30), new Set([202, 404, 400, 401]))
  t.same(statuses(20), new Set([200, 404, 401]), 'successful reads and repeated rejections are logged at debug')
})
