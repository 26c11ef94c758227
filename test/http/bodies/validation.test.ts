import { gzipSync } from 'node:zlib'
import t, { type Test } from 'tap'
import type { Json } from '../../helpers/client.ts'
import { startService } from '../../helpers/service.ts'
import { bearer } from '../../helpers/tokens.ts'
import { insertRows, whole } from '../rows.ts'

const bodyBytesMax = 64 * 1024
const service = await startService(t, { WORKERS: '0', BODY_BYTES_MAX: String(bodyBytesMax) })
const { ask } = service
await insertRows(service, { jobId: 'job-123', status: 'Queued' })

const post = (body: string, headers: Record<string, string> = {}) => ask('/api/v1/jobs', {
  method: 'POST', body, headers
})

/** The response is a 400 that lists every broken field and rule, and repeats them in its detail. */
const expectErrors = async (t: Test, answer: Response, expected: Array<[
  field: string, rule: string
]>, what: string) => {
  t.equal(answer.status, 400, what)
  const { code, detail, errors }: Json = await answer.json()
  t.equal(code, 'VALIDATION_FAILED', what)
  t.same(errors.map(({ field, rule }: Json) => `${field} ${rule}`)
    .sort(), expected.map(pair => pair.join(' ')).sort(), what)
  for (const { field, message } of errors) {
    t.ok(message.startsWith(field), `${message} begins with the field`)
    t.ok(detail.includes(message), 'and is in the detail')
  }
}

t.test('a body that is not JSON is 400', async t => {
  const texts = {
    'not closed': '{"type":"x"',
    'cut in a string': '{"type":"x',
    'two values': '{"type":"x","input":1} {}',
    'a trailing comma': '{"type":"x","input":1,}',
    'single quotes': "{'type':'x','input':1}",
    NaN: '{"type":"x","input":NaN}',
    undefined: 'undefined',
    'blanks alone': '  ',
    'a form': 'type=x&input=1',
    'a NUL': '\u0000'
  }
  for (const [what, text] of Object.entries(texts)) await expectErrors(t, await post(text), [['body', 'json']], what)
  await expectErrors(t, await post(''), [['body', 'required']], 'empty, declared as JSON')
  await expectErrors(t, await ask('/api/v1/jobs', { method: 'POST' }), [['body', 'type']], 'no body')
})

t.test('a 400 says where a missing or unknown field belongs', async t => {
  const detailOf = async (answer: Response) => (await answer.json() as Json).detail
  const claims = { scope: 'jobs:work' }
  t.equal(await detailOf(await ask('/api/v1/jobs', { method: 'POST' })), 'body must be a JSON object')
  t.equal(await detailOf(await ask('/api/v1/worker/jobs/job-123/progress', { method: 'POST', claims })),
    'lease-token is required, as a header of the request')
  t.equal(await detailOf(await ask('/api/v1/jobs?sort=type')), 'sort is not a known parameter')
  t.equal(await detailOf(await post('{"type":"x","input":1,"sort":1}')), 'sort is not a known field')
})

t.test('a JSON body that is not an object is 400', async t => {
  for (const text of ['null', '[]', '[{"type":"x","input":1}]', '"x"', '1', 'true']) {
    await expectErrors(t, await post(text), [['body', 'type']], text)
  }
})

t.test('reports every broken rule with its field', async t => {
  const cases: Array<[object, Array<[string, string]>]> = [
    [{}, [['type', 'required'], ['input', 'required']]],
    [{ type: 'x' }, [['input', 'required']]],
    [{ type: null, input: 1 }, [['type', 'type']]],
    [{ type: ['x'], input: 1 }, [['type', 'type']]],
    [{ type: 5, input: 1 }, [['type', 'type']]],
    [{ type: '', input: 1 }, [['type', 'pattern']]],
    [{ type: 'Upper', input: 1 }, [['type', 'pattern']]],
    [{ type: '.x', input: 1 }, [['type', 'pattern']]],
    [{ type: 'x\n', input: 1 }, [['type', 'pattern']]],
    [{ type: 'x'.repeat(65), input: 1 }, [['type', 'pattern']]],
    [{ type: 'x', input: 1, maxAttempts: 0 }, [['maxAttempts', 'minimum']]],
    [{ type: 'x', input: 1, maxAttempts: 101 }, [['maxAttempts', 'maximum']]],
    [{ type: 'x', input: 1, maxAttempts: 1.5 }, [['maxAttempts', 'type']]],
    [{ type: 'x', input: 1, maxAttempts: '3' }, [['maxAttempts', 'type']]],
    [{ type: 'x', input: 1, timeoutSeconds: 0, maxAttempts: [3] }, [
      ['timeoutSeconds', 'minimum'], ['maxAttempts', 'type']
    ]],
    [{ type: 'x', input: 1, timeoutSeconds: 86_401 }, [['timeoutSeconds', 'maximum']]],
    [{ type: 'x', input: 1, jobId: 'mine', tenant: 'other' }, [
      ['jobId', 'additionalProperties'], ['tenant', 'additionalProperties']
    ]],
    [{ type: 'x', input: 1, 'a/b~c': 1, '': 2 }, [['a/b~c', 'additionalProperties'], ['', 'additionalProperties']]],
    [{ Type: 'x', input: 1 }, [['type', 'required'], ['Type', 'additionalProperties']]]
  ]
  for (const [body, expected] of cases) {
    await expectErrors(t, await post(JSON.stringify(body)), expected, JSON.stringify(body))
  }
})

t.test('rejects members named __proto__', async t => {
  const texts = [
    '{"type":"x","input":{"__proto__":{"admin":true}}}',
    '{"__proto__":{"type":"x"},"input":1}',
    '{"type":"x","input":{"\\u005f_proto__":{"admin":true}}}'
  ]
  for (const text of texts) await expectErrors(t, await post(text), [['body', 'propertyNames']], text)
  t.equal(({} as { admin?: boolean }).admin, undefined)
})

t.test('a body that is nested 5,000 deep or has numbers out of range is 400', async t => {
  const deep = (levels: number) => `{"type":"x","input":${'['.repeat(levels)}${']'.repeat(levels)}}`
  await expectErrors(t, await post(deep(5000)), [['body', 'maxDepth']], 'lists')
  await expectErrors(
    t, await post(`{"type":"x","input":${'{"a":'.repeat(5000)}1${'}'.repeat(5000)}}`), [['body', 'maxDepth']], 'objects'
  )
  await expectErrors(t, await post(deep(65)), [['body', 'maxDepth']], 'one level too deep')
  const hidden = `{"type":"x","input":{"a":${'['.repeat(65)}${']'.repeat(65)},"a":1}}`
  await expectErrors(t, await post(hidden), [['input', 'maxDepth']], 'in a member that is named twice')
  await expectErrors(t, await post('{"type":"x","input":[{"a":-1e999}]}'), [['body', 'numberRange']], 'out of range')
})

t.test('a body over BODY_BYTES_MAX is 413, with and without a Content-Length', async t => {
  const big = JSON.stringify({ type: 'x', input: 'a'.repeat(bodyBytesMax) })
  const sized = await post(big)
  t.equal(sized.status, 413)
  t.match(await sized.json(), { status: 413, code: 'PAYLOAD_TOO_LARGE' })
  const streamed = await fetch(`${service.url}/api/v1/jobs`, {
    method: 'POST',
    body: new Blob([big]).stream(),
    duplex: 'half',
    headers: { ...bearer(), 'content-type': 'application/json' }
  })
  t.equal(streamed.status, 413)
})

t.test('another media type is 415', async t => {
  const body = '{"type":"x","input":1}'
  const types = [
    'text/plain', 'application/xml', 'application/x-www-form-urlencoded', 'multipart/form-data; boundary=x',
    'application/jsonp', 'application/json, text/plain', 'text/json', 'json', '*/*'
  ]
  for (const type of types) {
    const answer = await post(body, { 'content-type': type })
    t.equal(answer.status, 415, type)
    t.match(await answer.json(), { code: 'UNSUPPORTED_MEDIA_TYPE', detail: /application\/json/ })
  }
})

t.test('rejects bytes that are not UTF-8', async t => {
  const latin1 = Buffer.from('{"type":"x","input":"M\u00fcller"}', 'latin1')
  const send = async (type: string, body: Buffer) => await fetch(`${service.url}/api/v1/jobs`, {
    method: 'POST', body: new Uint8Array(body), headers: { ...bearer(), 'content-type': type }
  })
  await expectErrors(t, await send('application/json', latin1), [['body', 'json']], 'not UTF-8')
  for (const charset of ['iso-8859-1', '"utf-16le"', 'ascii; x=y']) {
    t.equal((await send(`application/json; charset=${charset}`, latin1)).status, 415, charset)
  }
  for (const charset of ['utf-8', 'UTF-8', '"utf8"']) {
    t.equal(
      (await send(`application/json; charset=${charset}`, Buffer.from('{"type":"","input":1}'))).status, 400, charset
    )
  }
})

t.test('any Content-Encoding but identity is 415, on every route', async t => {
  const body = '{"type":"x","input":1}'
  for (const encoding of ['gzip', 'br', 'deflate', 'zstd', 'x', 'identity, gzip', 'GZIP']) {
    const answer = await post(body, { 'content-encoding': encoding })
    t.equal(answer.status, 415, encoding)
    t.match(await answer.json(), { code: 'UNSUPPORTED_MEDIA_TYPE', detail: /Content-Encoding/ })
  }
  const packed = await fetch(`${service.url}/api/v1/jobs`, {
    method: 'POST',
    body: gzipSync(body),
    headers: { ...bearer(), 'content-type': 'application/json', 'content-encoding': 'gzip' }
  })
  t.equal(packed.status, 415)
  for (const path of ['/api/v1/jobs/job-123', '/api/jobs/job-123/status', '/livez', '/readyz', '/metrics']) {
    t.equal((await ask(path, { headers: { 'content-encoding': 'gzip' } })).status, 415, path)
  }
})

t.test('an invalid id is 404 in the v1 view', async t => {
  const ids = [
    '%00', 'a%00b', '%2F', 'a%2Fb', '..%2F..%2Fetc', '%2e%2e%2fx', '%ZZ', '%', '%E0%A4%A', 'a%20b',
    'a%0d%0aset-cookie:x', '%F0%9F%92%A9', 'ü', 'a+b', 'a*', "a'--", 'a"b', 'a;b', 'a:b', 'a@b', '$where',
    'a'.repeat(129), 'a'.repeat(10_000), '%41'.repeat(3000), '-'.repeat(129)
  ]
  for (const id of ids) {
    for (const suffix of ['', '/result']) {
      const path = `/api/v1/jobs/${id}${suffix}`
      const answer = await ask(path)
      t.equal(answer.status, 404, path.slice(0, 60))
      const problem: Json = await answer.json()
      t.equal(problem.code, 'JOB_NOT_FOUND', path.slice(0, 60))
    }
  }
  t.equal((await ask('/api/v1/jobs/job%2D123')).status, 200, 'a percent-encoded plain character is decoded')
})

t.test('no route matches an empty id or extra path segments', async t => {
  const paths = [
    '/api/v1/jobs/', '/api/v1/jobs//result', '/api/v1/jobs/job-123/nothing', '/api/v1/jobs/job-123/',
    '/API/v1/jobs/job-123', '//api/v1/jobs/job-123', '/api/v1/jobs/a/b/c'
  ]
  for (const path of paths) {
    t.equal((await ask(path)).status, 404, path)
  }
  t.equal((await ask('/api/jobs//status')).status, 400, 'an empty task id is invalid')
})

t.test('a status ignores the query string', async t => {
  const expected = await whole(await ask('/api/v1/jobs/job-123'))
  const queries = [
    '?', '?a=1&a=2', '?a[b]=c&a=d', '?__proto__[x]=1', '?%00=%FF', '?=&&=', '?jobId=other', `?x=${'y'.repeat(8000)}`,
    '??', '?#'
  ]
  for (const query of queries) {
    t.same(await whole(await ask(`/api/v1/jobs/job-123${query}`)), expected, query.slice(0, 40))
  }
})

t.test('unsupported methods are 405, with those that the path has', async t => {
  const unsupported = [
    ['PUT', '/api/v1/jobs/job-123'], ['DELETE', '/api/jobs/job-123/status'], ['PATCH', '/api/jobs/job-123/status'],
    ['POST', '/api/v1/jobs/job-123/result'], ['OPTIONS', '/api/v1/jobs'], ['POST', '/livez']
  ] as const
  for (const [method, path] of unsupported) {
    const answer = await ask(path, { method })
    t.equal(answer.status, 405, `${method} ${path}`)
    t.match(answer.headers.get('allow'), /GET/)
    t.match(await answer.text(), /"code":"METHOD_NOT_ALLOWED"/)
  }
})

t.test('invalid requests write no row, and the service still answers', async t => {
  for (const table of ['JobExecutionLog', 'JobQueue', 'JobInput', 'IdempotencyKey']) {
    t.equal(await service.sql(`SELECT count(*) FROM ${table}`), table === 'JobExecutionLog' ? '1' : '0', table)
  }
  t.equal((await ask('/api/v1/jobs/job-123')).status, 200)
  t.same(service.logs.filter(line => line.level >= 50), [], 'the log has no error')
})
