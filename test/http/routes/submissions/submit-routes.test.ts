import t from 'tap'
import { type Json, createWorkerClient, jsonOf } from '../../../helpers/client.ts'
import { startService } from '../../../helpers/service.ts'

const service = await startService(t, { WORKERS: '0' })
const { ask, askJson, url } = service
const { claimed, report } = createWorkerClient(service)

const post = (body: unknown, headers: Record<string, string> = {}, claims = {}) =>
  ask('/api/v1/jobs', { method: 'POST', body, headers, claims })
const rowCount = async () => Number(await service.sql('SELECT count(*) FROM JobExecutionLog'))

t.test('a submission is 202 with the six fields, both status URLs, both locations and Retry-After', async t => {
  const answer = await post({ type: 'report', input: {} })
  t.equal(answer.status, 202)
  t.match(answer.headers.get('content-type'), /^application\/json/)
  const job: Json = await answer.json()
  t.same(Object.keys(job), [
    'jobId', 'status', 'startTime', 'endTime', 'resultUrl', 'errorDetails', 'statusUrl', 'taskUrl'
  ])
  t.match(job, {
    status: 'Queued', startTime: /^\d{4}-\d\d-\d\dT.*Z$/, endTime: null, resultUrl: null, errorDetails: null
  })
  t.equal(job.statusUrl, `${url}/api/v1/jobs/${job.jobId}`, 'absolute: low-code clients cannot complete a path')
  t.equal(job.taskUrl, `${url}/api/jobs/${job.jobId}/status`)
  t.equal(answer.headers.get('location'), job.statusUrl)
  t.equal(answer.headers.get('operation-location'), answer.headers.get('location'))
  t.match(answer.headers.get('retry-after'), /^[1-9]\d*$/)
  t.notOk(answer.headers.has('idempotency-replayed'))
  const { statusUrl, taskUrl, ...status } = job
  t.same(await askJson(statusUrl.slice(url.length)), status, 'statusUrl returns the same status')
  t.match(await askJson(taskUrl.slice(url.length)), { data: { taskId: job.jobId } })
})

t.test('Location uses the Host header and ignores forwarded headers', async t => {
  const answer = await post({ type: 'x', input: null }, {
    'x-forwarded-host': 'evil.example.org', 'x-forwarded-proto': 'https'
  })
  t.ok(answer.headers.get('location')?.startsWith(`${url}/api/v1/jobs/`), 'forwarded headers are not trusted')
  t.ok((await answer.json() as Json).statusUrl.startsWith(`${url}/api/v1/jobs/`))
})

t.test('the id is a unique UUID v4', async t => {
  const ids = await Promise.all(Array.from({ length: 20 }, () => service.submit('x', null)))
  for (const id of ids) t.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  t.equal(new Set(ids).size, 20)
})

t.test('accepts a type that this process cannot run; the job stays Queued', async t => {
  for (const type of ['a', '0.b_c-d', 'x'.repeat(64), 'constructor', 'tostring']) {
    const jobId = await service.submit(type, { any: ['thing'] })
    t.match(await askJson(`/api/v1/jobs/${jobId}`), { status: 'Queued', endTime: null }, type)
    t.match(await askJson(`/api/jobs/${jobId}/status`), { data: { type, attempt: 0, status: 'queued' } })
  }
})

t.test('accepts any JSON value as input', async t => {
  for (const input of [
    null, 0, false, '', [], {}, 'ü\u0000\ud800', [[[1e308, -0]]], { constructor: { prototype: 1 } }
  ]) {
    t.equal((await post({ type: 'x', input })).status, 202, JSON.stringify(input))
  }
  t.equal((await post('\ufeff{"type":"x","input":1}')).status, 202, 'after a byte order mark')
})

t.test('stores maxAttempts and timeoutSeconds in the queue', async t => {
  const { jobId }: Json = await (await post({ type: 'x', input: 1, maxAttempts: 7, timeoutSeconds: 60 })).json()
  t.equal(await service.sql(`SELECT maxAttempts, timeoutMs FROM JobQueue WHERE jobId = '${jobId}'`), '7|60000')
  const other = await service.submit('x', 1)
  t.equal(await service.sql(`SELECT maxAttempts, timeoutMs FROM JobQueue WHERE jobId = '${other}'`), '3|')
})

t.test('stores tenant, submitter and type in the record', async t => {
  const jobId = await service.submit('x', 1, { claims: { sub: 'ann', tenant: 'acme' } })
  t.equal(
    await service.sql(`SELECT tenant, submittedBy, type, status FROM JobExecutionLog WHERE jobId = '${jobId}'`),
    'acme|ann|x|Queued'
  )
})

t.test('an optional member that is null counts as left out', async t => {
  const optional = { maxAttempts: null, timeoutSeconds: null, retentionSeconds: null, callbackUrl: null, callbackSecret: null }
  const headers = { 'idempotency-key': 'nulls' }
  const { jobId }: Json = await jsonOf(post({ type: 'x', input: null, ...optional }, headers))
  t.equal(await service.sql(`SELECT maxAttempts, timeoutMs, resultRetentionMs FROM JobQueue WHERE jobId = '${jobId}'`), '3||')
  const without = await post({ type: 'x', input: null }, headers)
  t.equal(without.headers.get('idempotency-replayed'), 'true', 'in the comparison of requests too')
  const { status } = await post({ type: 'x', input: { maxAttempts: null } }, headers)
  t.equal(status, 422, 'not in the input, which is not ours')
  for (const body of [{ type: null, input: 1 }, { type: 'x' }]) t.equal((await post(body)).status, 400, 'nothing required')
})

t.test('retentionSeconds can shorten the retention of the result, not extend it', async t => {
  const before = await rowCount()
  const invalid: Array<[value: unknown, rule: string, message: RegExp]> = [
    [0, 'minimum', /retentionSeconds .*1/], [-1, 'minimum', /1/], [86_401, 'maximum', /^retentionSeconds .*86400/],
    [1e12, 'maximum', /86400/], [1.5, 'type', /integer/], ['60', 'type', /integer/]
  ]
  for (const [retentionSeconds, rule, message] of invalid) {
    const answer = await post({ type: 'x', input: 1, retentionSeconds })
    t.equal(answer.status, 400, String(retentionSeconds))
    t.match(await answer.json(), { code: 'VALIDATION_FAILED', errors: [{ field: 'retentionSeconds', rule, message }] })
  }
  t.equal(await rowCount(), before)
  const keptSeconds = async (more: object) => {
    const { jobId }: Json = await jsonOf(post({ type: 'kept', input: 1, ...more }))
    const { leaseToken } = await claimed('kept')
    await report(jobId, 'complete', leaseToken, { result: 1 })
    const { data } = await askJson(`/api/jobs/${jobId}/status`)
    return (Date.parse(data.expiresAt) - Date.parse(data.finishedAt)) / 1000
  }
  t.equal(await keptSeconds({ retentionSeconds: 60 }), 60)
  t.equal(await keptSeconds({ retentionSeconds: 86_400 }), 86_400)
  t.equal(await keptSeconds({}), 86_400)
})

t.test('RESULT_RETENTION_SECONDS limits retentionSeconds', async t => {
  const brief = await startService(t, { WORKERS: '0', RESULT_RETENTION_SECONDS: '100' })
  const submit = (retentionSeconds: number) => brief.ask('/api/v1/jobs', {
    method: 'POST', body: { type: 'x', input: 1, retentionSeconds }
  })
  t.equal((await submit(100)).status, 202)
  t.match(await jsonOf(submit(101)), { errors: [{ field: 'retentionSeconds', rule: 'maximum', message: /100/ }] })
})

t.test('the same key with another retentionSeconds is another request', async t => {
  const again = (retentionSeconds: number) => post({ type: 'x', input: 1, retentionSeconds }, {
    'idempotency-key': 'kept'
  })
  t.equal((await again(60)).status, 202)
  t.equal((await again(60)).headers.get('idempotency-replayed'), 'true')
  t.equal((await again(61)).status, 422)
})

t.test('rejects an input that its processor would reject, with field and rule', async t => {
  const before = await rowCount()
  const cases: Array<[string, unknown, object[]]> = [
    ['report', { format: 'pdf' }, [{ field: 'input.format', rule: 'enum', message: /json, csv, html/ }]],
    ['report', {
      from: 'yesterday', until: 1
    }, [{ field: 'input.until', rule: 'additionalProperties' }, { field: 'input.from', rule: 'pattern' }]],
    ['report', null, [{ field: 'input', rule: 'type' }]],
    ['report', 'all', [{ field: 'input', rule: 'type' }]],
    ['sanitize', {}, [{ field: 'input.content', rule: 'required' }, { field: 'input.contentType', rule: 'required' }]],
    ['sanitize', { content: 5, contentType: 'text/html' }, [{ field: 'input.content', rule: 'type' }]],
    ['sanitize', { content: '', contentType: 'image/png' }, [{ field: 'input.contentType', rule: 'enum' }]],
    ['sanitize', {
      content: '', contentType: 'text/html', options: { nope: 1 }
    }, [{ field: 'input.options.nope', rule: 'additionalProperties' }]]
  ]
  for (const [type, input, expected] of cases) {
    const answer = await post({ type, input })
    t.equal(answer.status, 400, JSON.stringify(input))
    const { code, detail, errors }: Json = await answer.json()
    t.equal(code, 'VALIDATION_FAILED')
    const byField = (list: Json[]) => list.toSorted((a, b) => a.field < b.field ? -1 : 1)
    t.match(byField(errors), byField(expected))
    t.equal(errors.length, expected.length)
    for (const { field } of errors) t.ok(detail.includes(field), `the message names ${field}`)
  }
  t.equal(await rowCount(), before)
})

t.test('PUBLIC_URL makes the URLs absolute, and JOB_TYPES restricts the types', async t => {
  const other = await startService(t, {
    WORKERS: '0', PUBLIC_URL: 'https://jobs.example.org/base/', JOB_TYPES: 'report, other'
  })
  const answer = await other.ask('/api/v1/jobs', { method: 'POST', body: { type: 'other', input: 1 } })
  const job: Json = await answer.json()
  const statusUrl = `https://jobs.example.org/base/api/v1/jobs/${job.jobId}`
  t.equal(answer.status, 202)
  t.equal(answer.headers.get('location'), statusUrl)
  t.equal(answer.headers.get('operation-location'), statusUrl)
  t.equal(job.statusUrl, statusUrl)
  t.equal(job.taskUrl, `https://jobs.example.org/base/api/jobs/${job.jobId}/status`)
  await other.sql(`INSERT INTO JobExecutionLog (jobId, status, resultUrl) VALUES
    ('own-path', 'Succeeded', '/files/a'), ('elsewhere', 'Succeeded', 'https://example.org/b')`)
  t.equal((await other.askJson('/api/v1/jobs/own-path')).resultUrl, 'https://jobs.example.org/base/files/a')
  t.equal((await other.askJson('/api/jobs/own-path/status')).data.resultUrl, 'https://jobs.example.org/base/files/a')
  t.equal((await other.askJson('/api/v1/jobs/elsewhere')).resultUrl, 'https://example.org/b')
  t.same((await other.askJson('/openapi.json')).servers, [{ url: 'https://jobs.example.org/base' }])

  const rejected = await other.ask('/api/v1/jobs', {
    method: 'POST', body: { type: 'sanitize', input: { content: '', contentType: 'text/html' } }
  })
  t.equal(rejected.status, 400)
  t.match(await rejected.json(), {
    errors: [{ field: 'type', rule: 'enum', message: 'type must be one of: report, other' }]
  })
  t.equal(await other.sql('SELECT count(*) FROM JobQueue'), '1')
})
