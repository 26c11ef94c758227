import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { join } from 'node:path'
import { freePort } from '../helpers/redis.ts'
import { answers, readSettings } from './service.ts'

/*
 * A drive through every operation behind a validating proxy, which rejects each request and response that breaks the
 * document. What the proxy rejects, and an operation that the drive leaves out, fails the check.
 */

const { baseUrl: upstream, token, openApiPath, document, databasePath } = readSettings()

const port = await freePort()
const proxyUrl = `http://127.0.0.1:${port}`
const prism = join(import.meta.dirname, 'node_modules', '.bin', 'prism')
const proxy = spawn(prism, ['proxy', openApiPath, upstream, '--errors', '--port', String(port)], {
  stdio: ['ignore', 'ignore', 'inherit']
})
process.once('exit', () => { proxy.kill() })
await answers(`${proxyUrl}/livez`, () => proxy.exitCode !== null)

const violations: string[] = []
const visited = new Set<string>()

const patterns = Object.entries(document.paths).flatMap(([path, methods]) => Object.keys(methods).map(method => ({
  operation: `${method.toUpperCase()} ${path}`,
  method: method.toUpperCase(),
  expression: new RegExp(`^${path.replace(/\{\w+\}/g, '[^/]+')}$`)
})))

type Sent = { method?: string, body?: unknown, bytes?: string, headers?: Record<string, string>, status: number }

const send = async (path: string, { method = 'GET', body, bytes, headers = {}, status }: Sent) => {
  const answer = await fetch(proxyUrl + path, {
    method,
    redirect: 'manual',
    headers: {
      authorization: `Bearer ${token}`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...headers
    },
    ...(body === undefined && bytes === undefined ? {} : { body: bytes ?? JSON.stringify(body) })
  })
  const text = await answer.text()
  const { pathname } = new URL(path, proxyUrl)
  // Literal paths first: /api/v1/jobs/{jobId} would match them, too.
  const found = patterns.filter(pattern => pattern.method === method && pattern.expression.test(pathname))
  for (const { operation } of found) visited.add(operation)
  const what = `${method} ${path} ${answer.status}`
  if (text.includes('stoplight.io/prism') || answer.headers.has('sl-violations')) {
    violations.push(`${what}: ${text.slice(0, 2000)}`)
  } else if (answer.status !== status) {
    violations.push(`${what}, not ${status}: ${text.slice(0, 500)}`)
  }
  // eslint-disable-next-line @typescript-eslint/no-explicit-any
  const json = (): any => { try { return JSON.parse(text) } catch { return {} } }
  return { headers: answer.headers, text, json: json() }
}

const post = (path: string, status: number, body?: unknown, headers: Record<string, string> = {}) =>
  send(path, { method: 'POST', status, headers, ...(body === undefined ? {} : { body }) })

const type = `proxy-${process.pid}`
let submitted = 0

const submit = async (): Promise<string> =>
  (await post('/api/v1/jobs', 202, { type: `${type}-${++submitted}`, input: { at: submitted } })).json.jobId

const claim = async () => {
  const jobId = await submit()
  const { json } = await post('/api/v1/worker/claim', 200, { types: [`${type}-${submitted}`], leaseSeconds: 60 })
  assert.equal(json.jobId, jobId)
  const on = (command: string) => `/api/v1/worker/jobs/${jobId}/${command}`
  return { jobId, on, lease: { 'lease-token': json.leaseToken as string } }
}

const both = (jobId: string, rest: string) => [`/api/v1/jobs/${jobId}${rest}`, `/api/jobs/${jobId}${rest || '/status'}`]

const driveReads = async (jobId: string) => {
  for (const path of both(jobId, '')) {
    const { headers } = await send(path, { status: 200 })
    await send(path, { status: 304, headers: { 'if-none-match': headers.get('etag') ?? '' } })
    await send(path, { status: 401, headers: { authorization: 'Bearer x' } })
  }
  for (const path of [...both('no-such-job', ''), ...both('no-such-job', '/result')]) {
    await send(path, { status: 404, headers: { accept: 'application/json' } })
    await send(path, { status: 404, headers: { accept: 'application/problem+json' } })
  }
}

const driveWork = async () => {
  const { jobId, on, lease } = await claim()
  await send(on('input'), { status: 200, headers: lease })
  await post(on('progress'), 200, { done: 1, total: 2, stage: 'reading' }, lease)
  await post(on('progress'), 200, undefined, lease)
  await post(on('progress'), 409, {}, { 'lease-token': 'another' })
  const put = (offset: number, bytes: string, contentType: string, status: number) =>
    send(`${on('result')}?offset=${offset}`, {
      method: 'PUT', bytes, status, headers: { ...lease, 'content-type': contentType }
    })
  await put(0, 'a,b\n', 'text/csv', 200)
  await put(100, 'x', 'text/csv', 409)
  await driveReads(jobId)
  for (const path of both(jobId, '/result')) {
    await send(path, { status: 202 })
    await send(`${path}?partial=true`, { status: 200 })
  }
  await put(4, '1,2\n', 'text/csv', 200)
  await post(on('complete'), 200, {}, lease)
  for (const path of both(jobId, '/result')) {
    const { headers } = await send(path, { status: 200 })
    await send(path, { status: 206, headers: { range: 'bytes=0-1' } })
    await send(path, { status: 416, headers: { range: 'bytes=100-' } })
    await send(path, { status: 304, headers: { 'if-none-match': headers.get('etag') ?? '' } })
    await send(`${path}?partial=true&offset=4`, { status: 200 })
  }
  await post(`/api/v1/jobs/${jobId}/cancel`, 409)
  await send(`/api/v1/jobs/${jobId}`, { method: 'DELETE', status: 204 })
  for (const path of [...both(jobId, ''), ...both(jobId, '/result')]) await send(path, { status: 410 })
}

const driveEnds = async () => {
  const json = await claim()
  await post(json.on('complete'), 200, { result: { rows: [1, 2] } }, json.lease)
  const image = await claim()
  await send(image.on('result'), {
    method: 'PUT', bytes: '\u0089PNG', status: 200, headers: { ...image.lease, 'content-type': 'image/png' }
  })
  await post(image.on('complete'), 200, undefined, image.lease)
  for (const { jobId } of [json, image]) {
    for (const path of both(jobId, '/result')) await send(path, { status: 200 })
  }
  const elsewhere = await claim()
  await post(elsewhere.on('complete'), 200, { resultUrl: `${upstream}/livez` }, elsewhere.lease)
  const failed = await claim()
  const error = { code: 'X', message: 'x', details: [1] }
  await post(failed.on('fail'), 200, { error, retryable: false }, failed.lease)
  const empty = await claim()
  await post(empty.on('complete'), 200, {}, empty.lease)
  // The proxy itself follows the redirect.
  for (const path of both(elsewhere.jobId, '/result')) await send(path, { status: 200 })
  for (const path of both(failed.jobId, '/result')) await send(path, { status: 409 })
  for (const path of both(empty.jobId, '/result')) await send(path, { status: 404 })
  for (const { jobId } of [json, elsewhere, failed, empty]) {
    for (const path of both(jobId, '')) await send(path, { status: 200 })
  }
}

const driveAttempts = async () => {
  const { jobId, on, lease } = await claim()
  await post(on('release'), 200, {}, lease)
  await post(on('progress'), 409, {}, lease)
  const again = await post('/api/v1/worker/claim', 200, { types: [`${type}-${submitted}`] })
  const error = { code: 'X', message: 'x' }
  await post(on('fail'), 200, { error, retryable: false }, { 'lease-token': again.json.leaseToken })
  const { json: { items } } = await send(`/api/v1/jobs/${jobId}/attempts`, { status: 200 })
  assert.deepEqual(items?.map(({ outcome }: { outcome: string }) => outcome), ['released', 'failed'])
  await send('/api/v1/jobs/no-such-job/attempts', { status: 404 })
}

const driveCancels = async () => {
  for (const at of [0, 1]) {
    const queued = await submit()
    await send(`/api/v1/jobs/${queued}`, { method: 'DELETE', status: 409 })
    await post(both(queued, '/cancel')[at] ?? '', 200)
    const running = await claim()
    await post(both(running.jobId, '/cancel')[at] ?? '', 202)
    await post(running.on('progress'), 200, {}, running.lease)
    await post(running.on('fail'), 200, { error: { code: 'X', message: 'x' } }, running.lease)
    await post(both(running.jobId, '/cancel')[at] ?? '', 200)
    for (const path of both(running.jobId, '/result')) await send(path, { status: 409 })
  }
  execFileSync('sqlite3', [databasePath, `
    INSERT INTO JobExecutionLog (jobId, status) VALUES ('${type}', 'Running');
    INSERT INTO JobExecutionLog (jobId, status, errorDetails)
      VALUES ('${type}-failed', 'Failed', '{"code":"E","message":"m"}')`])
  for (const path of both(type, '/cancel')) await post(path, 409)
  for (const id of [type, `${type}-failed`]) for (const path of both(id, '')) await send(path, { status: 200 })
}

const driveSubmissions = async () => {
  const key = { 'idempotency-key': type }
  await post('/api/v1/jobs', 202, { type: 'report', input: {}, maxAttempts: 2, timeoutSeconds: 60 }, key)
  await post('/api/v1/jobs', 202, { type: 'report', input: {}, maxAttempts: 2, timeoutSeconds: 60 }, key)
  await post('/api/v1/jobs', 422, { type: 'report', input: { format: 'csv' } }, key)
  await post('/api/v1/jobs', 400, { type: 'report', input: { format: 'none' } })
  await post('/api/v1/worker/claim', 204, { types: ['none'] })
  for (const contentType of ['text/html', 'text/plain', 'application/json']) {
    await post('/api/sanitize', 200, { content: '"<b onclick=x>\u200b"', contentType })
    await post('/api/sanitize/async', 202, { content: '"<b onclick=x>"', contentType })
  }
  await post('/api/sanitize', 400, { content: '{', contentType: 'application/json' })
  for (const contentType of ['text/html', 'text/plain', 'application/x-ndjson']) {
    const { json } = await send('/api/sanitize/async?normalization=NFKC', {
      method: 'POST', bytes: '"a\u200b"\n', status: 202, headers: { 'content-type': contentType }
    })
    assert.equal(typeof json.data?.taskId, 'string')
  }
}

const driveLists = async () => {
  const { json: { nextCursor, items: [job] } } = await send('/api/v1/jobs?limit=2', { status: 200 })
  await send(`/api/v1/jobs?limit=2&cursor=${nextCursor}`, { status: 200 })
  await send('/api/v1/jobs?status=Failed&createdAfter=2020-01-01', { status: 200 })
  const { json: { data } } = await send('/api/jobs?limit=2', { status: 200 })
  await send(`/api/jobs?limit=2&cursor=${data?.nextCursor}`, { status: 200 })
  await send(`/api/jobs?status=failed&type=${type}-1`, { status: 200 })
  for (const list of ['/api/v1/jobs', '/api/jobs']) {
    await send(`${list}?ids=${job?.jobId},no-such-job`, { status: 200 })
    await send(`${list}?cursor=x`, { status: 400 })
  }
}

const driveWaits = async () => {
  const jobId = await submit()
  await send(`/api/v1/jobs/${jobId}/input`, { status: 200 })
  for (const path of both(jobId, '')) await send(`${path}?wait=0.01`, { status: 200, headers: { prefer: 'wait=1' } })
  await post(`/api/v1/jobs/${jobId}/cancel`, 200)
  // The stream of a job that has ended ends, too.
  for (const path of [`/api/v1/jobs/${jobId}/events`, `/api/jobs/${jobId}/events`]) {
    const { text } = await send(path, { status: 200 })
    const [, id = ''] = /^id: (.+)$/m.exec(text) ?? []
    await send(path, { status: 204, headers: { 'last-event-id': id } })
  }
  for (const path of ['/api/v1/events', '/api/events']) {
    const { json: { cursor } } = await send(path, { status: 200 })
    await submit()
    await send(`${path}?since=${cursor}&wait=1`, { status: 200 })
    await send(`${path}?since=x`, { status: 400 })
  }
}

const driveCallbacks = async () => {
  const callbackUrl = 'https://hook.invalid/done'
  const { json: { jobId } } = await post('/api/v1/jobs', 202, { type, input: 1, callbackUrl })
  const { json: { items } } = await send(`/api/v1/jobs/${jobId}/callbacks`, { status: 200 })
  const redeliver = `/api/v1/jobs/${jobId}/callbacks/${items?.[0]?.id}/redeliver`
  await post(redeliver, 409)
  await post(`/api/v1/jobs/${jobId}/cancel`, 200)
  await post(redeliver, 202)
  await post(redeliver, 429)
  await send(`/api/v1/jobs/${jobId}/callbacks`, { status: 200 })
}

const driveOperations = async () => {
  for (const path of ['/livez', '/readyz', '/metrics', '/api/v1/service']) await send(path, { status: 200 })
}

// The proxy checks at all: this request breaks the document.
await post('/api/v1/jobs', 422, {})
assert.match(violations.pop() ?? '', /stoplight\.io/)
await driveWork()
await driveEnds()
await driveAttempts()
await driveCancels()
await driveSubmissions()
await driveLists()
await driveWaits()
await driveCallbacks()
await driveOperations()
proxy.kill()

const missed = patterns.map(({ operation }) => operation).filter(operation => !visited.has(operation))
for (const operation of missed) violations.push(`${operation} is not part of the drive`)
assert.deepEqual(violations, [])
