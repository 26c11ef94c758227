import { get, type IncomingMessage, type ServerResponse } from 'node:http'
import { EventSource } from 'eventsource'
import fastify from 'fastify'
import t, { type Test } from 'tap'
import { createWaitingClients } from '../../../src/http/limits/waiting-clients.ts'
import { namedSchemas } from '../../../src/http/openapi/schemas.ts'
import type { Representation } from '../../../src/http/representation.ts'
import { eventRoutes } from '../../../src/http/routes/event-routes.ts'
import type { OnStatus } from '../../../src/http/status-events.ts'
import { bearer } from '../../helpers/tokens.ts'
import { openEvents } from '../../helpers/events.ts'
import { startService } from '../../helpers/service.ts'
import { until } from '../../helpers/until.ts'
import { awaitWaiting } from '../../helpers/waiting.ts'
import { insertRows } from '../rows.ts'

const service = await startService(t, { WORKERS: '0', WAITERS_MAX: '4', CORS_ORIGINS: 'https://app.example' })
const { ask, askJson, sql } = service
const noTimer = () => ({ cancel: () => {} })
const queuedEntry = {
  jobId: 'a',
  version: 1,
  tenant: null,
  state: 'queued',
  percent: 0,
  pollAfterMs: 1000,
  expiredAt: 0,
  hasResult: true,
  canCancel: true,
  v1Body: '',
  taskBody: ''
} as const
let jobs = 0
const newJob = async (status = 'Running') => {
  const jobId = `job-${++jobs}`
  await insertRows(service, { jobId, status })
  return jobId
}
const set = (jobId: string, what: string) => sql(`UPDATE JobExecutionLog SET ${what} WHERE jobId = '${jobId}'`)
const open = async (t: Test, path: string, headers: Record<string, string> = {}) => {
  const events = await openEvents(service, path, { headers })
  t.teardown(events.close)
  return events
}

t.test('first the current state, then each newer one, and after the last one the end', async t => {
  for (const [toPath, toStatus] of [
    [(id: string) => `/api/v1/jobs/${id}/events`, (id: string) => `/api/v1/jobs/${id}`],
    [(id: string) => `/api/jobs/${id}/events`, (id: string) => `/api/jobs/${id}/status`]
  ] as const) {
    const jobId = await newJob()
    const { answer, readBlock, next } = await open(t, toPath(jobId))
    t.match(Object.fromEntries(answer.headers), {
      'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-store', 'x-accel-buffering': 'no'
    })
    t.equal(await readBlock(), 'retry: 2000')
    const shown = async () => {
      const status = await ask(toStatus(jobId))
      const [, version] = /^"([0-9a-f]+\.\d+)\./.exec(status.headers.get('etag') ?? '') ?? []
      return { event: 'status', id: version, data: await status.text() }
    }
    t.same(await next(), await shown())
    await set(jobId, 'progressPercent = 50')
    t.same(await next(), await shown())
    await set(jobId, "status = 'Succeeded'")
    t.same(await next(), await shown())
    t.equal(await next(), undefined, 'the stream ends')
  }
  await awaitWaiting(service, 0, 'stream')
})

t.test('a client that reconnects gets what it has not got, and 204 after the end', async t => {
  const jobId = await newJob()
  const path = `/api/v1/jobs/${jobId}/events`
  const first = await (await open(t, path)).next()
  const again = await open(t, path, { 'last-event-id': first?.id ?? '' })
  await set(jobId, 'progressPercent = 50')
  const second = await again.next()
  t.match(second, { id: /^\w+\.\d+$/ })
  t.not(second?.id, first?.id)
  await set(jobId, "status = 'Failed'")
  const last = await again.next()
  const late = await open(t, path, { 'last-event-id': second?.id ?? '' })
  t.same(await late.next(), last)
  const ended = await ask(path, { headers: { 'last-event-id': last?.id ?? '' } })
  t.equal(ended.status, 204)
  t.equal(ended.headers.get('cache-control'), 'no-store')
  for (const strange of ['x', `${'a'.repeat(16)}.99999`, '1e9']) {
    t.same(await (await open(t, path, { 'last-event-id': strange })).next(), last, strange)
  }
})

t.test('a job that is erased, or given to another tenant, is gone', async t => {
  const [erased, moved] = [await newJob(), await newJob()]
  const streams = [await open(t, `/api/v1/jobs/${erased}/events`), await open(t, `/api/jobs/${moved}/events`)] as const
  for (const { next } of streams) t.match(await next(), { event: 'status' })
  await sql(`DELETE FROM JobExecutionLog WHERE jobId = '${erased}'`)
  await set(moved, "tenant = 'others'")
  t.same(await streams[0].next(), { event: 'gone', id: null, data: `{"jobId":"${erased}"}` })
  t.same(await streams[1].next(), { event: 'gone', id: null, data: `{"taskId":"${moved}"}` })
  for (const { next } of streams) t.equal(await next(), undefined)
})

t.test('failures before the first event are the usual ones', async t => {
  t.match(await askJson('/api/v1/jobs/no-such-job/events'), { status: 404, code: 'JOB_NOT_FOUND' })
  t.match(await askJson('/api/jobs/no-such-job/events'), { success: false, error: { code: 'JOB_NOT_FOUND' } })
  t.match(await askJson('/api/jobs/%21/events'), { error: { code: 'INVALID_TASK_ID' } })
  const jobId = await newJob()
  t.equal((await ask(`/api/v1/jobs/${jobId}/events`, { headers: { authorization: '' } })).status, 401)
  t.equal((await ask(`/api/v1/jobs/${jobId}/events`, { claims: { scope: 'jobs:write' } })).status, 403)
  await sql(`DELETE FROM JobExecutionLog WHERE jobId = '${jobId}'`)
  t.equal((await ask(`/api/v1/jobs/${jobId}/events`)).status, 410)
  await awaitWaiting(service, 0, 'stream')
})

t.test('more streams than WAITERS_MAX, or half of it for one tenant, are 503', async t => {
  const jobId = await newJob()
  const path = `/api/v1/jobs/${jobId}/events`
  for (const _ of [1, 2]) await (await open(t, path)).next()
  const answer = await ask(path)
  t.equal(answer.status, 503)
  t.equal(answer.headers.get('retry-after'), '1')
  t.match(await answer.json(), { code: 'OVERLOADED' })
  t.equal((await ask(path, { claims: { tenant: 'others' } })).status, 200)
  await set(jobId, "status = 'Succeeded'")
  await awaitWaiting(service, 0, 'stream')
})

t.test('a page of an allowed origin can read the stream', async t => {
  const jobId = await newJob('Succeeded')
  const { answer, next } = await open(t, `/api/v1/jobs/${jobId}/events`, { origin: 'https://app.example' })
  t.equal(answer.headers.get('access-control-allow-origin'), 'https://app.example')
  t.match(await next(), { event: 'status' })
})

t.test('line breaks in the result of a worker do not break the event', async t => {
  const jobId = await newJob('Succeeded')
  await sql(`UPDATE JobExecutionLog SET resultUrl = '/api/v1/jobs/${jobId}/result', submittedBy = 'a' WHERE jobId = '${jobId}';
    INSERT INTO JobResult (jobId, contentType, fileName, sizeBytes, sha256, inlineJson)
    VALUES ('${jobId}', 'application/json', 'a.json', 10, 'x', '{\r\n"a":\n1}')`)
  const { next } = await open(t, `/api/jobs/${jobId}/events`)
  t.match(JSON.parse((await next())?.data ?? ''), { data: { status: 'succeeded', result: { a: 1 } } })
})

t.test('a stream is closed at the end of its token, after its last whole event', async t => {
  const jobId = await newJob()
  const { answer, next } = await openEvents(service, `/api/v1/jobs/${jobId}/events`, { claims: { expiresIn: 4000 } })
  t.equal(answer.status, 200)
  t.match(await next(), { event: 'status' })
  t.equal(await next(), undefined)
})

t.test('a client that does not read costs one event, and gets the newest when it reads on', async t => {
  const statusOf = (version: number): Representation => {
    const v1Body = JSON.stringify({ version, filler: 'x'.repeat(10_000) })
    const entry = { ...queuedEntry, version, v1Body, ...version === 5000 ? { state: 'succeeded', pollAfterMs: 0 } as const : {} }
    return { view: 'v1', entry, eTag: '', link: '' }
  }
  let onStatus: OnStatus = () => {}
  const app = fastify({ forceCloseConnections: true })
  t.teardown(() => app.close())
  let response: ServerResponse | undefined
  app.decorateRequest('principal', null)
  app.addHook('onRequest', (request, reply, done) => {
    request.principal = { subject: 'a', tenant: 'a', scopes: [], allTenants: false, expiresAt: Infinity }
    response = reply.raw
    done()
  })
  for (const schema of namedSchemas) app.addSchema(schema)
  await app.register(eventRoutes, {
    followStatus: async (_view, _id, _principal, _lastEventId, callBack) => {
      onStatus = callBack
      return { representation: statusOf(1), isKnown: false, isLast: false, unfollow: () => {} }
    },
    incarnation: 'a1',
    waitingClients: createWaitingClients({ waitersMax: 10, now: () => 0, schedule: noTimer, onCount: () => {} }),
    schedulePings: noTimer,
    onShown: () => {},
    logResponse: () => {},
    addCorsFields: null
  })
  const url = new URL(await app.listen({ host: '127.0.0.1', port: 0 }))
  const answer = await new Promise<IncomingMessage>(resolve => { get(new URL('/api/v1/jobs/a/events', url), resolve) })
  let held = 0
  for (let version = 2; version <= 5000; version++) {
    onStatus(statusOf(version))
    held = Math.max(held, response?.writableLength ?? 0)
    if (version % 100 === 0) await new Promise(setImmediate)
  }
  t.ok(held < 100_000, `at most one event more than Node buffers, of 50 MB: ${held}`)
  const text = Buffer.concat(await Array.fromAsync(answer as AsyncIterable<Buffer>)).toString()
  const versions = [...text.matchAll(/"version":(\d+)/g)].map(([, version]) => Number(version))
  t.equal(versions.at(-1), 5000)
  t.ok(versions.length < 4000, 'those in between are left out')
  t.same(versions, versions.toSorted((a, b) => a - b))
})

t.test('the npm client eventsource reconnects with Last-Event-ID, and stops at the 204', async t => {
  const jobId = await newJob()
  const requests: Array<{ lastEventId: string | null, status: number }> = []
  const source = new EventSource(`${service.url}/api/v1/jobs/${jobId}/events`, {
    fetch: async (url, init) => {
      const headers = { ...init.headers, ...bearer() }
      const answer = await fetch(url, { ...init, headers })
      requests.push({ lastEventId: new Headers(headers).get('last-event-id'), status: answer.status })
      return answer
    }
  })
  t.teardown(() => { source.close() })
  const states: string[] = []
  source.addEventListener('status', ({ data, lastEventId }) => { states.push(`${JSON.parse(data).status} ${lastEventId}`) })
  await until(() => states.length === 1)
  await set(jobId, "status = 'Succeeded'")
  await until(() => source.readyState === EventSource.CLOSED)
  t.match(states, [/^Running /, /^Succeeded /])
  t.match(requests, [{ lastEventId: null, status: 200 }, { status: 204 }])
  t.equal(requests[1]?.lastEventId, states[1]?.split(' ')[1])
})

t.test('a process that drains ends its streams, and answers a new one with the state of the moment', async t => {
  const draining = await startService(t, { WORKERS: '0' })
  await insertRows(draining, { jobId: 'job-1', status: 'Running' })
  const { next } = await openEvents(draining, '/api/v1/jobs/job-1/events')
  t.match(await next(), { event: 'status' })
  draining.app.onDraining()
  t.equal(await next(), undefined)
  const late = await draining.ask('/api/v1/jobs/job-1/events')
  t.equal(late.status, 200)
  t.match(await late.text(), /^retry: 2000\n\nevent: status\nid: \S+\ndata: \{"jobId":"job-1","status":"Running"[^\n]*\n\n$/)
})

t.test('HEAD has the headers, and begins no stream', async t => {
  const path = `/api/v1/jobs/${await newJob()}/events`
  const head = await ask(path, { method: 'HEAD' })
  t.equal(head.status, 200)
  t.match(head.headers.get('content-type'), /^text\/event-stream/)
  t.equal((await ask('/api/v1/jobs/no-such-job/events', { method: 'HEAD' })).status, 404)
  await awaitWaiting(service, 0, 'stream')
})
