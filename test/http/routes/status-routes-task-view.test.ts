import t from 'tap'
import type { Json } from '../../helpers/client.ts'
import { startService } from '../../helpers/service.ts'
import { insertRows, metric } from '../rows.ts'

const service = await startService(t, { WORKERS: '0' })
const { ask, askJson, submit } = service
const document: Json = await (await fetch(`${service.url}/openapi.json`)).json()

const noProgress = { percent: 0, done: null, total: null, stage: null, message: null, etaSeconds: null }
const common = {
  type: 'export', cancelRequested: false, expiresAt: null, expiredAt: null, partialResultAvailable: false, result: null
}
const createdAt = '2026-01-02T03:04:05.000Z'
const startedAt = '2026-01-02T03:04:06.000Z'
const finishedAt = '2026-01-02T03:04:16.000Z'

const dataOf = async (taskId: string) => {
  const answer = await ask(`/api/jobs/${taskId}/status`)
  t.equal(answer.status, 200)
  const { success, data, ...rest }: Json = await answer.json()
  t.equal(success, true)
  t.same(rest, {}, 'the envelope has two members')
  const { version, ...others } = data
  t.ok(Number.isInteger(version) && version > 0)
  return others
}

t.test('a queued task has every field', async t => {
  await insertRows(service, { jobId: 'queued', status: 'Queued', type: 'export', createdAt })
  t.strictSame(await dataOf('queued'), {
    ...common,
    taskId: 'queued',
    status: 'queued',
    isTerminal: false,
    isSuccess: false,
    progress: noProgress,
    attempt: 0,
    createdAt,
    startedAt: null,
    finishedAt: null,
    resultAvailable: false,
    resultUrl: null,
    failure: null,
    pollAfterMs: 1000
  })
})

t.test('a running task has every field', async t => {
  await insertRows(service, {
    jobId: 'running',
    status: 'Running',
    type: 'export',
    createdAt,
    startTime: startedAt,
    attempt: 2,
    progressPercent: 40.5,
    progressDone: 4050,
    progressTotal: 10000,
    progressStage: 'reading',
    progressMessage: 'page 5',
    etaSeconds: 12
  })
  t.strictSame(await dataOf('running'), {
    ...common,
    taskId: 'running',
    status: 'running',
    isTerminal: false,
    isSuccess: false,
    progress: { percent: 40.5, done: 4050, total: 10000, stage: 'reading', message: 'page 5', etaSeconds: 12 },
    attempt: 2,
    createdAt,
    startedAt,
    finishedAt: null,
    resultAvailable: false,
    resultUrl: null,
    failure: null,
    pollAfterMs: 3000
  })
})

t.test('a succeeded task has every field', async t => {
  await insertRows(service, {
    jobId: 'succeeded',
    status: 'Succeeded',
    type: 'export',
    createdAt,
    startTime: startedAt,
    endTime: finishedAt,
    resultUrl: 'https://example.org/a',
    progressPercent: 70,
    attempt: 1
  })
  t.strictSame(await dataOf('succeeded'), {
    ...common,
    taskId: 'succeeded',
    status: 'succeeded',
    isTerminal: true,
    isSuccess: true,
    progress: { ...noProgress, percent: 100 },
    attempt: 1,
    createdAt,
    startedAt,
    finishedAt,
    resultAvailable: true,
    resultUrl: 'https://example.org/a',
    failure: null,
    pollAfterMs: null
  })
})

t.test('a failed task has every field, and success stays true', async t => {
  await insertRows(service, {
    jobId: 'failed',
    status: 'Failed',
    type: 'export',
    createdAt,
    startTime: startedAt,
    endTime: finishedAt,
    attempt: 3,
    progressPercent: 70,
    errorDetails: '{"code":"A","message":"b"}'
  })
  t.strictSame(await dataOf('failed'), {
    ...common,
    taskId: 'failed',
    status: 'failed',
    isTerminal: true,
    isSuccess: false,
    progress: { ...noProgress, percent: 70 },
    attempt: 3,
    createdAt,
    startedAt,
    finishedAt,
    resultAvailable: false,
    resultUrl: null,
    failure: { code: 'A', message: 'b' },
    pollAfterMs: null
  })
})

t.test('a cancelled task has every field', async t => {
  await insertRows(service, {
    jobId: 'cancelled',
    status: 'Failed',
    type: 'export',
    createdAt,
    startTime: startedAt,
    endTime: finishedAt,
    cancelledAt: finishedAt,
    attempt: 1,
    progressPercent: 70
  })
  t.strictSame(await dataOf('cancelled'), {
    ...common,
    taskId: 'cancelled',
    status: 'cancelled',
    isTerminal: true,
    isSuccess: false,
    progress: { ...noProgress, percent: 70 },
    attempt: 1,
    cancelRequested: true,
    createdAt,
    startedAt,
    finishedAt,
    resultAvailable: false,
    resultUrl: null,
    failure: { code: 'JOB_CANCELLED', message: 'The job was cancelled.' },
    pollAfterMs: null
  })
})

t.test('a running task shows a requested cancellation and uploaded bytes', async t => {
  await insertRows(service,
    { jobId: 'stopping', status: 'Running', cancelRequestedAt: startedAt },
    { jobId: 'sending', status: 'Running', hasPartialResult: 1 })
  t.match(await dataOf('stopping'), {
    status: 'running', isTerminal: false, cancelRequested: true, partialResultAvailable: false
  })
  t.match(await dataOf('sending'), {
    status: 'running', cancelRequested: false, partialResultAvailable: true, resultAvailable: false
  })
})

t.test('a minimal row of another engine has every field', async t => {
  await insertRows(service, { jobId: 'bare', status: 'Succeeded' })
  const data = await dataOf('bare')
  t.match(data, { type: null, startedAt: null, finishedAt: null, resultAvailable: false, resultUrl: null, attempt: 0 })
  t.match(data.createdAt, /^\d{4}-.*Z$/)
})

t.test('both views show the same version of a job', async t => {
  const jobId = await submit('unclaimed', null)
  const [v1, task] = await Promise.all([ask(`/api/v1/jobs/${jobId}`), ask(`/api/jobs/${jobId}/status`)])
  t.equal(v1.headers.get('etag'), task.headers.get('etag'))
  const { data }: Json = await task.json()
  t.match(await v1.json(), { jobId: data.taskId, status: 'Queued', startTime: data.createdAt })
  t.equal(Number(task.headers.get('etag')?.split('.')[1]), data.version)
})

t.test('the version rises with every visible change', async t => {
  await insertRows(service, { jobId: 'rising', status: 'Queued' })
  let { version } = (await askJson('/api/jobs/rising/status')).data
  for (const change of ["status = 'Running'", 'progressPercent = 10', "status = 'Succeeded'"]) {
    await service.sql(`UPDATE JobExecutionLog SET ${change} WHERE jobId = 'rising'`)
    // The ETag of a future version makes the read bypass the cache.
    const { headers } = await ask('/api/v1/jobs/rising')
    const [incarnation] = (headers.get('etag') ?? '').slice(1).split('.')
    const after = await askJson('/api/jobs/rising/status', {
      headers: { 'if-none-match': `"${incarnation}.${version + 1}.0"` }
    })
    t.ok(after.data.version > version, change)
    version = after.data.version
  }
})

t.test('an invalid id is 400 INVALID_TASK_ID with field and rule, and reads nothing from the store', async t => {
  const before = await metric(service, 'job_status_reads_total{source="store"}')
  for (const id of [
    'a%20b', 'a%2Fb', '%00', 'ä', 'a'.repeat(129), 'a'.repeat(10_000), '%ZZ', 'a+b', 'a:b', "a'b", 'a,b', '*'
  ]) {
    for (const route of ['status', 'result']) {
      const answer = await ask(`/api/jobs/${id}/${route}`)
      const what = `${id.slice(0, 20)} ${route}`
      t.equal(answer.status, 400, what)
      t.match(answer.headers.get('content-type'), /^application\/json/)
      t.match(await answer.json(), {
        success: false,
        error: {
          code: 'INVALID_TASK_ID',
          message: String,
          details: {
            errors: [{ field: 'taskId', rule: 'pattern', message: /^taskId / }]
          }
        }
      }, what)
    }
  }
  t.equal(await metric(service, 'job_status_reads_total{source="store"}'), before)
})

t.test('accepts ids of 128 characters and of every allowed character', async t => {
  for (const jobId of ['a'.repeat(128), 'A.z_0~9-', '~', '0', '...']) {
    await insertRows(service, { jobId, status: 'Queued' })
    t.equal((await askJson(`/api/jobs/${jobId}/status`)).data.taskId, jobId)
    t.equal((await askJson(`/api/v1/jobs/${jobId}`)).jobId, jobId)
  }
})

t.test('errors are in the envelope, with a code and a message', async t => {
  const answer = await ask('/api/jobs/no-such-job/status', { headers: { accept: 'application/problem+json' } })
  t.equal(answer.status, 404)
  t.match(answer.headers.get('content-type'), /^application\/json/, 'problem+json is for the other routes')
  t.same(await answer.json(), {
    success: false, error: { code: 'JOB_NOT_FOUND', message: 'No job with this id is visible to this token.' }
  })
})

/*
 * Low-code clients treat a top-level `error` key as a failure and send the request again. These tests cover every
 * operation of the OpenAPI document.
 */

const methods = ['get', 'post', 'put', 'delete', 'patch']
const operations = Object.entries<Json>(document.paths).flatMap(([path, item]) =>
  Object.entries<Json>(item).filter(([method]) => methods.includes(method)).map(([method, operation]) => ({
    path, method, operation
  })))

/** The alternatives of a schema, with references resolved. */
const variantsOf = (schema: Json): Json[] => {
  if (schema.$ref !== undefined) return variantsOf(document.components.schemas[schema.$ref.split('/').pop()])
  const alternatives = schema.anyOf ?? schema.oneOf
  return alternatives === undefined ? [schema] : alternatives.flatMap(variantsOf)
}

t.test('no schema of a 2xx JSON response has or allows a top-level error key', async t => {
  let count = 0
  for (const { path, method, operation } of operations) {
    for (const [status, { content = {} }] of Object.entries<Json>(operation.responses)) {
      // `*/*`: the bytes of an input belong to the client, those of a result to the worker, whatever type they have.
      if (!status.startsWith('2') || Object.hasOwn(content, '*/*')) continue
      for (const [mediaType, { schema }] of Object.entries<Json>(content)) {
        if (!/json/.test(mediaType)) continue
        for (const variant of variantsOf(schema)) {
          count++
          const what = `${method} ${path} ${status}`
          t.equal(variant.type, 'object', what)
          t.notOk(Object.hasOwn(variant.properties, 'error'), what)
          t.equal(variant.additionalProperties, false, `${what} allows nothing else`)
        }
      }
    }
  }
  t.ok(count > 10)
})

t.test('no 2xx response has a top-level error key, not even null', async t => {
  const jobId = await submit('unclaimed', null)
  const ids = [jobId, 'running', 'succeeded', 'failed', 'cancelled', 'stopping', 'bare']
  const statusPaths = ids.flatMap(id => [`/api/v1/jobs/${id}`, `/api/jobs/${id}/status`])
  const resultPaths = [`/api/v1/jobs/${jobId}/result`, `/api/jobs/${jobId}/result`]
  const otherPaths = [
    '/livez', '/readyz', '/openapi.json', `/api/v1/jobs/${jobId}/attempts`,
    ...['/api/v1/jobs', '/api/jobs'].flatMap(list => [list, `${list}?ids=running,failed`])
  ]
  for (const path of [...otherPaths, ...statusPaths, ...resultPaths]) {
    const answer = await ask(path)
    t.ok(answer.ok, path)
    t.notOk(Object.hasOwn(await answer.json() as object, 'error'), path)
  }
  const commands = [
    ['/api/v1/jobs', { type: 'x', input: { error: 1 } }],
    [`/api/jobs/${jobId}/cancel`, {}],
    [`/api/v1/jobs/${jobId}/cancel`, {}]
  ] as const
  for (const [path, body] of commands) {
    const answer = await ask(path, { method: 'POST', body })
    t.ok(answer.ok, path)
    t.notOk(Object.hasOwn(await answer.json() as object, 'error'), path)
  }
})

// What n8n sends, by the response format that is configured.
const acceptsOfN8n = [
  'application/json,text/*;q=0.99',
  'application/json,text/html,application/xhtml+xml,application/xml,text/*;q=0.9, image/*;q=0.8, */*;q=0.7'
]

const taskError = variantsOf({ $ref: '#/components/schemas/TaskError' })[0]
const problem = variantsOf({ $ref: '#/components/schemas/Problem' })[0]

/** Requests that every route rejects, and one that the routes with an id or a body reject. */
const rejectedRequests = [
  { what: 'an encoded body', headers: { 'content-encoding': 'gzip' } },
  { what: 'no token', headers: { authorization: '' } },
  { what: 'a token without scopes', claims: { scope: '' } },
  {
    what: 'an invalid body, an unknown id, a missing header',
    body: '{',
    claims: {
      scope: 'jobs:read jobs:write jobs:work'
    }
  }
]

t.test('errors of every route are application/json for the Accept of n8n, in the shape of the path', async t => {
  let count = 0
  for (const { path, method } of operations) {
    for (const accept of acceptsOfN8n) {
      for (const { what, body, headers = {}, ...more } of rejectedRequests) {
        const target = path.replaceAll(/\{\w+\}/g, 'not-there')
        const sent = body === undefined || method === 'get' ? {} : { body }
        const answer = await ask(target, {
          method: method.toUpperCase(), ...sent, headers: { accept, ...headers }, ...more
        })
        const text = await answer.text()
        if (answer.ok) {
          const isList = ['/api/v1/jobs', '/api/jobs', '/api/v1/events', '/api/events'].includes(path)
          t.ok(isList || !path.startsWith('/api/'), `${method} ${path} accepts ${what}`)
          continue
        }
        count++
        const message = `${method} ${path}: ${what}: ${answer.status}`
        t.match(answer.headers.get('content-type'), /^application\/json(;|$)/, message)
        const failure: Json = JSON.parse(text)
        const { required, properties } = /^\/api\/(jobs|sanitize)(\/|$)/.test(path) ? taskError : problem
        t.same(required.filter((name: string) => !Object.hasOwn(failure, name)), [], message)
        t.same(Object.keys(failure).filter(name => !Object.hasOwn(properties, name)), [], message)
        t.match(failure.error ?? failure, { code: /^[A-Z_]+$/ }, message)
        if (failure.error === undefined) t.match(failure, { status: answer.status, instance: target, detail: String })
        else t.match(failure, { success: false, error: { message: String } })
      }
    }
  }
  t.ok(count > 80)
})

t.test('with fresh each response is new: its time, and nothing to store it by', async t => {
  const jobId = await submit('fresh', 1)
  const path = `/api/jobs/${jobId}/status`
  const plain = await ask(path)
  const headers = { 'if-none-match': plain.headers.get('etag') ?? '' }
  const answers = [await ask(`${path}?fresh=true`, { headers }), await ask(`${path}?fresh=true&wait=0.05`, { headers })]
  const { data } = await plain.json() as Json
  for (const answer of answers) {
    t.equal(answer.status, 200, 'If-None-Match is not evaluated')
    t.equal(answer.headers.get('etag'), null)
    t.equal(answer.headers.get('cache-control'), 'no-store')
    for (const name of ['vary', 'link', 'job-state', 'job-progress', 'retry-after', 'retry-after-ms', 'content-type']) {
      t.equal(answer.headers.get(name), plain.headers.get(name), name)
    }
    const { success, data: { observedAt, ...others } } = await answer.json() as Json
    t.strictSame({ success, data: others }, { success: true, data })
    t.ok(Math.abs(Date.parse(observedAt) - Date.now()) < 60_000, 'the time of the response')
    t.match(observedAt, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
  }
  t.equal(answers[1]?.headers.get('preference-applied'), 'wait=0.05')
  t.equal((await ask(`${path}?fresh=false`, { headers })).status, 304)
  t.equal((await ask(`${path}?fresh=true`, { headers: { 'if-match': '"x"' } })).status, 412)
  t.equal((await ask(`${path}?fresh=1`)).status, 400)
  t.equal((await ask('/api/jobs/no-such-job/status?fresh=true')).status, 404)
  const head = await ask(`${path}?fresh=true`, { method: 'HEAD' })
  t.equal(head.headers.get('content-length'), (await ask(`${path}?fresh=true`)).headers.get('content-length'))
})
