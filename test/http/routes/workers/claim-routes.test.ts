import { request, type ServerResponse } from 'node:http'
import { join } from 'node:path'
import t from 'tap'
import { databases } from '../../../helpers/databases.ts'
import { startService } from '../../../helpers/service.ts'
import { bearer } from '../../../helpers/tokens.ts'
import { until } from '../../../helpers/until.ts'
import { createWorkerClient, jsonOf, workerClaims } from '../../../helpers/client.ts'

const service = await startService(t, { WORKERS: '0', LEASE_SECONDS: '40' })
const { ask, askJson, submit, sql } = service
const { claim, claimed, report, input } = createWorkerClient(service)

t.test('a claim returns all that a worker needs, and 204 if no job is available', async t => {
  const nothing = await claim({ types: ['thumbnail'] })
  t.equal(nothing.status, 204)
  t.equal(await nothing.text(), '')

  const jobId = await submit('thumbnail', { width: 200 })
  const before = Date.now()
  const answer = await claim({ types: ['other', 'thumbnail'] })
  t.equal(answer.status, 200)
  t.equal(answer.headers.get('cache-control'), 'no-store')
  const job = await jsonOf(answer)
  t.same(Object.keys(job).toSorted(), [
    'attempt', 'cancelRequested', 'input', 'jobId', 'leaseExpiresAt', 'leaseToken', 'maxAttempts', 'tenant',
    'timeoutSeconds', 'type'
  ])
  t.match(job, {
    jobId,
    type: 'thumbnail',
    input: { width: 200 },
    attempt: 1,
    maxAttempts: 3,
    timeoutSeconds: null,
    tenant: 'tester',
    cancelRequested: false,
    leaseToken: /^\S{10,}$/
  })
  t.ok(Date.parse(job.leaseExpiresAt) >= before + 40_000, 'LEASE_SECONDS by default')
  t.match(await askJson(`/api/jobs/${jobId}/status`), { data: { status: 'running', attempt: 1 } })
  t.equal((await claim({ types: ['thumbnail'] })).status, 204, 'no other worker gets it')
})

t.test('a claim says how many attempts the job has and how long each may take', async t => {
  await askJson('/api/v1/jobs', {
    method: 'POST', claims: { tenant: 'acme' }, body: { type: 'limited', input: 1, maxAttempts: 7, timeoutSeconds: 90 }
  })
  const claims = { scope: 'jobs:work jobs:admin' }
  const job = await jsonOf(claim({ types: ['limited'] }, { claims }))
  t.match(job, { maxAttempts: 7, timeoutSeconds: 90, tenant: 'acme' })
})

t.test('every answer to a worker says whether the job is to be cancelled', async t => {
  await submit('stopped', { a: 1 })
  const { jobId, leaseToken } = await claimed('stopped')
  const { upload } = createWorkerClient(service)
  const header = (answer: Response) => answer.headers.get('cancel-requested')
  t.equal(header(await input(jobId, leaseToken)), 'false')
  t.match(await jsonOf(upload(jobId, leaseToken, 0, 'a')), { offset: 1, cancelRequested: false })
  await ask(`/api/v1/jobs/${jobId}/cancel`, { method: 'POST' })
  t.equal(header(await input(jobId, leaseToken)), 'true')
  for (const [offset, bytes] of [[1, ''], [1, 'b']] as const) {
    t.match(await jsonOf(upload(jobId, leaseToken, offset, bytes)), { cancelRequested: true })
  }
  t.match(await jsonOf(report(jobId, 'progress', leaseToken)), { cancelRequested: true })
  const failed = await report(jobId, 'fail', leaseToken, { error: { code: 'E', message: 'stopped' } })
  t.equal(header(failed), 'true')
  t.equal(failed.headers.get('job-state'), 'cancelled')

  await submit('stopped', null)
  const again = await claimed('stopped')
  t.equal(header(await report(again.jobId, 'complete', again.leaseToken)), 'false')
})

t.test('leaseSeconds sets the duration of the lease', async t => {
  await submit('long', null)
  const before = Date.now()
  const { leaseExpiresAt, jobId, leaseToken } = await claimed('long', { leaseSeconds: 3600 })
  t.ok(Date.parse(leaseExpiresAt) >= before + 3_600_000)
  t.equal((await claim({ types: ['none'], leaseSeconds: null, wait: null })).status, 204, 'null counts as left out')
  const answer = await jsonOf(report(jobId, 'progress', leaseToken))
  t.ok(Date.parse(answer.leaseExpiresAt) >= before + 3_600_000, 'and every report extends it by as much')
})

t.test('rejects an invalid claim with 400, naming the field', async t => {
  const wrong: Array<[string, unknown]> = [
    ['types', {}], ['types', { types: [] }], ['types', { types: 'x' }], ['types.0', { types: ['X'] }],
    ['types.0', { types: [''] }],
    ['types', { types: ['x', 'x'] }], ['types', { types: Array.from({ length: 101 }, (_, at) => `t${at}`) }],
    ['leaseSeconds', { types: ['x'], leaseSeconds: 0 }], ['leaseSeconds', { types: ['x'], leaseSeconds: 3601 }],
    ['leaseSeconds', { types: ['x'], leaseSeconds: 1.5 }], ['leaseSeconds', { types: ['x'], leaseSeconds: '30' }],
    ['wait', { types: ['x'], wait: -1 }], ['wait', { types: ['x'], wait: 56 }],
    ['holder', { types: ['x'], holder: 'embedded' }]
  ]
  for (const [field, body] of wrong) {
    const answer = await claim(body as Record<string, unknown>)
    t.equal(answer.status, 400, JSON.stringify(body).slice(0, 60))
    t.match(await answer.json(), { code: 'VALIDATION_FAILED', errors: [{ field }] })
  }
  t.equal((await claim({ types: Array.from({ length: 100 }, (_, at) => `t${at}`) })).status, 204)
})

t.test('a worker gets jobs of its own tenant, an admin those of all', async t => {
  const jobId = await submit('secret', 1, { claims: { tenant: 'acme' } })
  t.equal((await claim({ types: ['secret'] })).status, 204)
  t.equal((await claim({ types: ['secret'] }, { claims: { tenant: 'other', scope: 'jobs:work' } })).status, 204)
  const own = await claim({ types: ['secret'] }, { claims: { tenant: 'acme', sub: 'w', scope: 'jobs:work' } })
  t.match(await own.json(), { jobId })
  const next = await submit('secret', 2, { claims: { tenant: 'acme' } })
  t.match(
    await (await claim({ types: ['secret'] }, { claims: { scope: 'jobs:work jobs:admin' } })).json(), { jobId: next }
  )
})

t.test('never returns rows of other engines', async t => {
  await sql("INSERT INTO JobExecutionLog (jobId, type, status) VALUES ('foreign', 'imports', 'Queued')")
  t.equal((await claim({ types: ['imports'] }, { claims: { scope: 'jobs:work jobs:admin' } })).status, 204)
})

t.test('no subject can impersonate the embedded worker', async t => {
  const path = join(t.testdir(), 'jobs.db')
  const env = { WORKERS: '0' }
  const first = await startService(t, env, path)
  const jobId = await first.submit('report', {})
  const worker = createWorkerClient(first, { ...workerClaims, tenant: 'tester', sub: 'embedded' })
  const { leaseToken } = await worker.claimed('report')
  t.equal(await first.sql('SELECT leaseHolder FROM JobQueue'), 'http:embedded')
  await first.stop()
  // At its start an embedded worker takes back the jobs of its predecessor.
  const second = await startService(t, { WORKERS: '1' }, path)
  const other = await second.finished(await second.submit('report', {}))
  t.equal(other.status, 'Succeeded')
  const answer = await createWorkerClient(second).report(jobId, 'complete', leaseToken, { result: 1 })
  t.match(await answer.json(), { jobId, status: 'Succeeded' })
})

t.test('returns inputs of any size as submitted', async t => {
  const small = { text: 'x'.repeat(1000), list: [1, null, { a: 'ä\u2028"' }] }
  await submit('sized', small)
  t.same((await claimed('sized')).input, small)

  const large = ['ä'.repeat(200_000)]
  await submit('sized', large)
  const job = await claimed('sized')
  t.match(job, { inputUrl: `/api/v1/worker/jobs/${job.jobId}/input`, inputContentType: 'application/json' })
  t.notOk('input' in job)
  for (const method of ['GET', 'HEAD']) {
    const answer = await ask(job.inputUrl, { method, claims: workerClaims, headers: { 'lease-token': job.leaseToken } })
    t.equal(answer.status, 200)
    t.match(answer.headers.get('content-type'), /^application\/json/)
    t.equal(await answer.text(), method === 'GET' ? JSON.stringify(large) : '')
  }
})

t.test('inputUrl serves raw bytes as they were sent', async t => {
  const jobId = await submit('raw', { note: 'apart' })
  const bytes = Buffer.from('\u0000<b>bytes</b>\u00ff', 'latin1')
  const [first, second] = [bytes.subarray(0, 4), bytes.subarray(4)].map(databases().bytes)
  await sql(`INSERT INTO JobInputChunk (inputId, startOffset, bytes) VALUES ('i1', 0, ${first}), ('i1', 4, ${second});
    UPDATE JobInput SET inputId = 'i1', rawSizeBytes = ${bytes.length}, rawContentType = 'text/html; charset=latin1'
    WHERE jobId = '${jobId}'`)
  const job = await claimed('raw')
  t.match(job, { inputUrl: `/api/v1/worker/jobs/${jobId}/input`, inputContentType: 'text/html; charset=latin1' })
  t.notOk('input' in job, 'either input or inputUrl')
  const answer = await input(jobId, job.leaseToken)
  t.equal(answer.headers.get('content-type'), 'text/html; charset=latin1')
  t.equal(answer.headers.get('content-length'), String(bytes.length))
  t.equal(answer.headers.get('x-content-type-options'), 'nosniff')
  t.same(Buffer.from(await answer.arrayBuffer()), bytes)
  const head = await ask(job.inputUrl, {
    method: 'HEAD', claims: workerClaims, headers: { 'lease-token': job.leaseToken }
  })
  t.equal(head.headers.get('content-length'), String(bytes.length))
})

t.test('inputUrl is absolute with PUBLIC_URL', async t => {
  const service = await startService(t, { WORKERS: '0', PUBLIC_URL: 'https://jobs.example.org/x' })
  const jobId = await service.submit('sized', 'x'.repeat(300_000))
  const { inputUrl } = await createWorkerClient(service).claimed('sized')
  t.equal(inputUrl, `https://jobs.example.org/x/api/v1/worker/jobs/${jobId}/input`)
})

t.test('only the holder of the lease can read the input', async t => {
  const jobId = await submit('guarded', 1)
  t.match(await (await input(jobId, 'guess')).json(), { code: 'LEASE_LOST' })
  const { leaseToken } = await claimed('guarded')
  t.equal((await input(jobId, leaseToken)).status, 200)
  t.match(await (await input(jobId, null)).json(), { code: 'VALIDATION_FAILED', errors: [{ field: 'lease-token' }] })
  t.match(await (await input(jobId, 'guess')).json(), { code: 'LEASE_LOST' })
  t.equal((await input(jobId, leaseToken, { claims: { ...workerClaims, tenant: 'other' } })).status, 404)
  await report(jobId, 'complete', leaseToken)
  t.match(await (await input(jobId, leaseToken)).json(), { code: 'LEASE_LOST' })
})

t.test('holds a waiting claim until a job is available', async t => {
  const held = claim({ types: ['awaited'], wait: 55 })
  const jobId = await submit('awaited', 1)
  t.match(await (await held).json(), { jobId, attempt: 1 })
  t.equal((await claim({ types: ['awaited'], wait: 0.05 })).status, 204, 'at most for the requested time')
})

t.test('a waiting claim gets a retry once it is due', async t => {
  const jobId = await submit('retried', 1)
  const { leaseToken } = await claimed('retried')
  await report(jobId, 'fail', leaseToken, { error: { code: 'E', message: 'failed' } })
  t.match(await (await claim({ types: ['retried'], wait: 55 })).json(), { jobId, attempt: 2 })
})

t.test('claims no job for a client that has disconnected', async t => {
  const answers: ServerResponse[] = []
  service.app.server.server.on('request', (_request, answer) => { answers.push(answer) })
  const { port } = new URL(service.url)
  const leaving = request({
    port,
    path: '/api/v1/worker/claim',
    method: 'POST',
    headers: {
      ...bearer(workerClaims), 'content-type': 'application/json'
    }
  })
  leaving.on('error', () => {})
  leaving.end(JSON.stringify({ types: ['left'], wait: 55 }))
  await until(() => answers.length === 1, 'the request')
  const held = claim({ types: ['left-too'], wait: 55 })
  await submit('left-too', 1)
  await held
  leaving.destroy()
  await until(() => answers[0]?.closed, 'the closed connection')
  const jobId = await submit('left', 1)
  t.match(await askJson(`/api/jobs/${jobId}/status`), { data: { status: 'queued', attempt: 0 } })
  t.match(await claimed('left'), { jobId, attempt: 1 })
})

t.test('a drain ends waiting claims at once with 204', async t => {
  const service = await startService(t, { WORKERS: '0' })
  const worker = createWorkerClient(service)
  let begun = 0
  service.app.server.server.on('request', () => { begun++ })
  const held = ['a', 'b', 'c'].map(type => worker.claim({ types: [type], wait: 55 }))
  await until(() => begun === 3, 'the claims')
  await service.submit('d', 1)
  await worker.claimed('d')
  const stopped = service.stop()
  for (const answer of await Promise.all(held)) t.equal(answer.status, 204)
  await stopped
})

t.test('every route needs the scope jobs:work', async t => {
  const routes = [
    ['claim', 'POST'], ['jobs/x/input', 'GET'], ['jobs/x/progress', 'POST'], ['jobs/x/complete', 'POST'],
    ['jobs/x/fail', 'POST'], ['jobs/x/result', 'PUT']
  ] as const
  for (const [path, method] of routes) {
    const send = (claims: object) => ask(`/api/v1/worker/${path}`, {
      method, claims: { ...claims }, ...(method === 'GET' ? {} : { body: {} })
    })
    t.equal((await send({ scope: 'jobs:read jobs:write jobs:admin' })).status, 403, path)
    t.equal((await send({})).status, 403, path)
    t.not((await send({ scope: 'jobs:work' })).status, 403, path)
    t.equal((await ask(`/api/v1/worker/${path}`, { method, headers: { authorization: '' } })).status, 401, path)
  }
})
