import { Ajv } from 'ajv'
import formats from 'ajv-formats'
import t, { type Test } from 'tap'
import type { Json } from '../../helpers/client.ts'
import { findOpenApiFaults } from '../../../scripts/openapi-faults.ts'
import { startService } from '../../helpers/service.ts'
import { insertRows } from '../rows.ts'

const service = await startService(t)
const { ask } = service
await insertRows(service,
  { jobId: 'queued', status: 'Queued' },
  { jobId: 'running', status: 'Running' },
  { jobId: 'failed', status: 'Failed', errorDetails: 'x' },
  { jobId: 'succeeded', status: 'Succeeded' },
  { jobId: 'elsewhere', status: 'Succeeded', resultUrl: 'https://example.org/a' },
  { jobId: 'erased', status: 'Succeeded' })
await service.sql(
  "DELETE FROM JobExecutionLog WHERE jobId = 'erased'; PRAGMA ignore_check_constraints = ON; INSERT INTO JobExecutionLog (jobId, status) VALUES ('damaged', 'Paused')"
)
const { jobId: stored } = await service.finished(await service.submit('report', {}))

const document: Json = await (await fetch(`${service.url}/openapi.json`)).json()

const ajv = new Ajv({ strict: false, allErrors: true, formats: { binary: true } })
formats.default(ajv)
ajv.addSchema(document, 'openapi')

const toPointer = (...steps: string[]) =>
  `openapi#/${steps.map(step => encodeURIComponent(step.replaceAll('~', '~0').replaceAll('/', '~1'))).join('/')}`

/** Violations of the schema at a place of the document; empty for a valid value. */
const findFaults = (value: unknown, ...steps: string[]) => {
  const check = ajv.getSchema(toPointer(...steps)) ?? ajv.compile({ $ref: toPointer(...steps) })
  return check(value) ? [] : check.errors ?? []
}

const operations = Object.entries<Json>(document.paths).flatMap(([path, item]) =>
  Object.entries<Json>(item).map(([method, operation]) => ({ path, method, operation })))

// Headers of HTTP itself, which need no documentation.
const plainHeaders = [
  'date', 'connection', 'keep-alive', 'content-type', 'content-length', 'transfer-encoding', 'accept-ranges'
]

/** Checks status, headers and body of a response against the documented operation. */
// A stream goes on as long as its client wants it to.
const beginningOf = async ({ body }: Response): Promise<string> => {
  const reader = body?.getReader()
  const { value } = await reader?.read() ?? {}
  await reader?.cancel()
  return Buffer.from(value ?? []).toString()
}

const expectDocumented = async (t: Test, path: string, method: string, answer: Response) => {
  const what = `${method} ${path} ${answer.status}`
  const documented = document.paths[path][method].responses[answer.status]
  t.ok(documented, `${what} is documented`)
  const names = Object.keys(documented?.headers ?? {}).map(name => name.toLowerCase())
  for (const name of answer.headers.keys()) {
    if (!plainHeaders.includes(name)) t.ok(names.includes(name), `${what}: ${name} is documented`)
  }
  const mediaType = (answer.headers.get('content-type') ?? '').split(';')[0] ?? ''
  const text = mediaType === 'text/event-stream' ? await beginningOf(answer) : await answer.text()
  const content = documented?.content ?? {}
  if (text === '') {
    return t.same(Object.keys(content).filter(type => type !== '*/*'), [], `${what}: no body is documented`)
  }
  const documentedType = [mediaType, '*/*'].find(type => Object.hasOwn(content, type)) ?? mediaType
  t.ok(Object.hasOwn(content, documentedType), `${what}: ${mediaType} is documented`)
  if (documentedType !== '*/*' && /json$/.test(mediaType)) {
    const steps = ['paths', path, method, 'responses', String(answer.status), 'content', mediaType, 'schema']
    t.same(findFaults(JSON.parse(text), ...steps), [], `${what}: the body is as documented`)
  }
}

t.test('the document is OpenAPI 3.0, with bearer security and unique operation ids', async t => {
  t.match(document.openapi, /^3\.0\.\d+$/)
  t.same(document.security, [{ bearer: [] }])
  t.match(document.components.securitySchemes.bearer, { type: 'http', scheme: 'bearer' })
  const ids = operations.map(({ operation }) => operation.operationId)
  t.equal(new Set(ids).size, ids.length)
  for (const { path, operation } of operations) {
    t.equal(
      operation.security === undefined, path.startsWith('/api/'), `${path}: only routes for operators need no token`
    )
  }
})

t.test('every documented operation exists and needs a token if documented', async t => {
  for (const { path, method } of operations) {
    const answer = await fetch(service.url + path.replace(/\{\w+\}/, 'no-such-job'), { method })
    t.notMatch(await answer.clone().text(), /"NOT_FOUND"/, `${method} ${path}`)
    t.equal(answer.status, path.startsWith('/api/') ? 401 : 200, `${method} ${path}`)
    await expectDocumented(t, path, method, answer)
  }
})

t.test('every parameter and body has an example that is valid, and every error code is listed', t => {
  t.same(findOpenApiFaults(document), [])
  const submission = ['paths', '/api/v1/jobs', 'post'] as const
  const content = [...submission, 'requestBody', 'content', 'application/json'] as const
  const status = ['paths', '/api/v1/jobs/{jobId}', 'get'] as const
  const jobIdAt = document.paths[status[1]].get.parameters.findIndex(({ name }: Json) => name === 'jobId')
  const faulty: Array<[what: RegExp, steps: readonly (string | number)[], value: unknown]> = [
    [/POST \/api\/v1\/jobs body application\/json: has no example/, [...content, 'examples'], {}],
    [/body application\/json: its example is not valid: {2}must have required/, [...content, 'examples', 'report', 'value'], {}],
    [/jobId: has no example/, [...status, 'parameters', jobIdAt, 'example'], undefined],
    [/jobId: its example is not valid/, [...status, 'parameters', jobIdAt, 'example'], 5],
    [/200 application\/json: has no example/, [...status, 'responses', '200', 'content', 'application/json', 'examples'], {}],
    [/404: names no error code/, [...status, 'responses', '404', 'description'], 'Not there.'],
    [/404: JOB_EXPIRED is no code of this status/, [...status, 'responses', '404', 'description'], '`JOB_EXPIRED`: Gone.'],
    [/the body is no named schema/, [...status, 'responses', '404', 'content', 'application/json', 'schema'], {}],
    [/ErrorCode: .* is missing/, ['components', 'schemas', 'ErrorCode', 'enum'], ['NOT_FOUND']],
    [/a code of no type/, ['components', 'schemas', 'Problem', 'properties', 'code'], { type: 'string' }]
  ]
  for (const [what, steps, value] of faulty) {
    const copy = structuredClone(document)
    const [last = '', ...before] = steps.toReversed()
    before.toReversed().reduce((part, step) => part[step], copy)[last] = value
    t.match(findOpenApiFaults(copy).join('\n'), what)
  }
  t.end()
})

t.test('a body that may be empty is not required', async t => {
  const required = operations.filter(({ operation }) => operation.requestBody !== undefined)
    .map(({ path, operation }) => [path.split('/').at(-1), operation.requestBody.required])
  t.match(Object.fromEntries(required), {
    progress: false, complete: false, fail: true, claim: true, jobs: true, sanitize: true
  })
})

t.test('there is an example for each state of a job, in both views', async t => {
  for (const path of ['/api/v1/jobs/{jobId}', '/api/jobs/{taskId}/status']) {
    const { examples } = document.paths[path].get.responses['200'].content['application/json']
    t.same(Object.keys(examples), ['queued', 'running', 'succeeded', 'failed', 'cancelled'])
  }
})

t.test('the schemas reject invalid values, so that these checks can fail', async t => {
  const schema = ['components', 'schemas', 'JobStatus']
  const good =
    document.paths['/api/v1/jobs/{jobId}'].get.responses['200'].content['application/json'].examples.queued.value
  t.same(findFaults(good, ...schema), [])
  for (const bad of [
    { ...good, status: 'Paused' }, { ...good, more: 1 }, { ...good, startTime: null }, { ...good, endTime: 'soon' }
  ]) {
    t.not(findFaults(bad, ...schema).length, 0)
  }
})

t.test('responses of reading routes match the document, success and failure', async t => {
  for (const { path, method } of operations.filter(
    operation => operation.method === 'get' && operation.path.startsWith('/api/')
  )) {
    for (const id of [
      'queued', 'running', 'failed', 'succeeded', 'elsewhere', stored, 'erased', 'damaged', 'no-such-job', 'a%20b'
    ]) {
      const target = path.replace(/\{\w+\}/, id)
      for (const accept of ['application/json', 'application/problem+json']) {
        await expectDocumented(t, path, method, await ask(target, { headers: { accept } }))
      }
      await expectDocumented(t, path, method, await ask(target, { headers: { 'if-none-match': '*' } }))
      await expectDocumented(t, path, method, await ask(target, { headers: { range: 'bytes=0-9' } }))
      await expectDocumented(t, path, method, await ask(target, { headers: { range: 'bytes=9999999-' } }))
      await expectDocumented(t, path, method, await ask(`${target}?partial=true`))
      await expectDocumented(t, path, method, await ask(`${target}?offset=x`))
    }
    const target = path.replace(/\{\w+\}/, 'queued')
    await expectDocumented(t, path, method, await ask(target, { claims: { scope: '' } }))
    await expectDocumented(t, path, method, await ask(target, { headers: { 'content-encoding': 'gzip' } }))
  }
})

t.test('responses to submissions match the document, success and failure', async t => {
  const post = async (body: unknown, headers: Record<string, string> = {}, claims = {}) => {
    await expectDocumented(t, '/api/v1/jobs', 'post', await ask('/api/v1/jobs', {
      method: 'POST', body, headers, claims
    }))
  }
  const key = { 'idempotency-key': 'k' }
  await post({ type: 'x', input: 1 }, key)
  await post({ type: 'x', input: 1 }, key)
  await post({ type: 'x', input: 2 }, key)
  await service.sql("DELETE FROM JobExecutionLog WHERE type = 'x'")
  await post({ type: 'x', input: 1 }, key)
  await post({})
  await post({ type: 'x', input: 'a'.repeat(1024 * 1024) })
  await post('x', { 'content-type': 'text/plain' })
  await post({ type: 'report', input: {} }, {}, { scope: 'jobs:write' })
})

t.test('responses to lists match the document', async t => {
  for (const query of [
    '', '?limit=2', '?limit=0', '?ids=queued,no-such-job,erased', '?cursor=x', '?status=Failed&createdAfter=2020-01-01',
    '?ids=succeeded&wait=1', '?wait=1'
  ]) {
    await expectDocumented(t, '/api/v1/jobs', 'get', await ask(`/api/v1/jobs${query}`))
    await expectDocumented(t, '/api/v1/jobs', 'get', await ask(`/api/v1/jobs${query}`, {
      headers: { 'if-none-match': '*' }
    }))
  }
})

t.test('responses to sanitization match the document, success and failure', async t => {
  for (const path of ['/api/sanitize', '/api/sanitize/async']) {
    const post = async (body: unknown, headers: Record<string, string> = {}) => {
      await expectDocumented(t, path, 'post', await ask(path, { method: 'POST', body, headers }))
    }
    await post({ content: 'a', contentType: 'text/plain' }, { 'idempotency-key': `of ${path}`.replace(' ', '-') })
    await post({ content: 'b', contentType: 'text/plain' }, { 'idempotency-key': `of ${path}`.replace(' ', '-') })
    await post({ content: '{', contentType: 'application/json' })
    await post({ content: 1 })
    await post('a', { 'content-type': 'text/xml' })
    await post('a', { 'content-type': 'text/plain' })
    await post({ content: 'a'.repeat(5 * 1024 * 1024), contentType: 'text/plain' })
  }
})

t.test('responses to commands and workers match the document, success and failure', async t => {
  const claims = { scope: 'jobs:read jobs:write jobs:work' }
  const call = async (method: string, path: string, jobId: string, more: Json = {}) => {
    const answer = await ask(path.replace(/\{\w+\}/, jobId) + (more.query ?? ''), { method, claims, ...more })
    const kept = answer.clone()
    await expectDocumented(t, path, method.toLowerCase(), answer)
    return kept
  }
  const worker = '/api/v1/worker/jobs/{jobId}'
  const claim = async () => {
    const jobId = await service.submit('mine', { a: 1 })
    const { leaseToken } = await (await call('POST', '/api/v1/worker/claim', '', {
      body: { types: ['mine'] }
    })).json() as Json
    return { jobId, headers: { 'lease-token': leaseToken } }
  }
  await call('POST', '/api/v1/worker/claim', '', { body: { types: ['nothing'] } })
  await call('POST', '/api/v1/worker/claim', '', { body: { types: [] } })
  const { jobId, headers } = await claim()
  for (const headersOrNot of [headers, {}, { 'lease-token': 'x' }]) {
    await call('GET', `${worker}/input`, jobId, { headers: headersOrNot })
    await call('POST', `${worker}/progress`, jobId, { body: { percent: 3 }, headers: headersOrNot })
    await call('PUT', `${worker}/result`, jobId, {
      query: '?offset=0', body: 'abc', headers: { ...headersOrNot, 'content-type': 'text/plain' }
    })
  }
  await call('PUT', `${worker}/result`, jobId, {
    query: '?offset=9', body: 'abc', headers: { ...headers, 'content-type': 'text/plain' }
  })
  await call('DELETE', '/api/v1/jobs/{jobId}', jobId)
  await expectDocumented(
    t, '/api/v1/jobs/{jobId}/result', 'get', await ask(`/api/v1/jobs/${jobId}/result?partial=true`)
  )
  await expectDocumented(
    t, '/api/v1/jobs/{jobId}/result', 'get', await ask(`/api/v1/jobs/${jobId}/result?partial=true&offset=99`)
  )
  await call('POST', `${worker}/complete`, jobId, { headers, body: { result: 1 } })
  await call('POST', `${worker}/complete`, jobId, { headers, body: {} })
  await call('POST', `${worker}/complete`, jobId, { headers, body: {} })
  await call('POST', '/api/v1/jobs/{jobId}/cancel', jobId)
  const second = await claim()
  for (const path of ['/api/v1/jobs/{jobId}/cancel', '/api/jobs/{taskId}/cancel']) {
    await call('POST', path, second.jobId)
  }
  await call('POST', `${worker}/fail`, second.jobId, {
    headers: second.headers, body: { error: { code: 'X', message: 'x' } }
  })
  await call('POST', `${worker}/fail`, second.jobId, { headers: second.headers, body: {} })
  for (const path of ['/api/v1/jobs/{jobId}/cancel', '/api/jobs/{taskId}/cancel']) {
    for (const id of [second.jobId, 'running', 'succeeded', 'no-such-job', 'erased', 'a%20b']) {
      await call('POST', path, id)
    }
    await call('POST', path, second.jobId, { body: { more: 1 } })
  }
  for (const id of ['no-such-job', 'erased', 'running', second.jobId, second.jobId]) {
    await call('DELETE', '/api/v1/jobs/{jobId}', id)
  }
})

t.test('responses for operators match the document', async t => {
  for (const path of ['/livez', '/readyz', '/metrics']) {
    await expectDocumented(t, path, 'get', await ask(path))
    await expectDocumented(t, path, 'get', await ask(path, { headers: { 'content-encoding': 'gzip' } }))
  }
})

type BodySchema = { properties?: Record<string, Json>, required?: string[] }

// What a request may leave out, in nested objects too. A member of any type may be null anyway.
const optionalMembers = ({ properties = {}, required = [] }: BodySchema): Array<[string, Json]> =>
  Object.entries(properties).flatMap(([name, member]) =>
    [...(required.includes(name) || member.type === undefined ? [] : [[name, member] as [string, Json]]),
      ...optionalMembers(member)])

t.test('every optional member of a JSON body may be null', async t => {
  const operations = Object.values(document.paths).flatMap(path => Object.values(path as Json)) as Json[]
  const schemas = operations.map(operation => operation.requestBody?.content['application/json']?.schema).filter(Boolean)
  const members = schemas.flatMap(schema => optionalMembers(schema as BodySchema))
  t.ok(members.length > 10)
  for (const [name, { nullable, enum: values }] of members) {
    t.equal(nullable, true, name)
    t.ok(values === undefined || values.includes(null), name)
  }
})
