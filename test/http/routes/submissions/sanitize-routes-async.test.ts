import { request } from 'node:http'
import { setImmediate as nextTurn } from 'node:timers/promises'
import t from 'tap'
import type { Json } from '../../../helpers/client.ts'
import { startService } from '../../../helpers/service.ts'
import { bearer } from '../../../helpers/tokens.ts'
import { until } from '../../../helpers/until.ts'

const service = await startService(t, { INPUT_BYTES_MAX: String(3 * 1024 * 1024), PRUNE_INTERVAL_SECONDS: '1' })
const { ask, askJson, finished, sql } = service
const path = '/api/sanitize/async'

const post = (body: unknown, contentType = 'application/json', more: Json = {}) =>
  ask(path, { method: 'POST', body, ...more, headers: { 'content-type': contentType, ...more.headers } })

const accepted = async (body: unknown, contentType?: string, more?: Json): Promise<Json> =>
  (await (await post(body, contentType, more)).json() as Json).data

const resultOf = async (taskId: string) => {
  await finished(taskId)
  const answer = await ask(`/api/jobs/${taskId}/result`)
  return { status: answer.status, contentType: answer.headers.get('content-type'), text: await answer.text() }
}

const events = async (taskId: string) =>
  (await sql(`SELECT kind || ' ' || count FROM SanitizationEvent WHERE jobId = '${taskId}' ORDER BY kind`)).split('\n')
    .filter(Boolean)

t.test('runs the JSON of the synchronous API as a job whose result is the sanitized content', async t => {
  const body = { content: '<b onclick="x()">hi</b><script>x()</script>', contentType: 'text/html' }
  const answer = await post(body)
  t.equal(answer.status, 202)
  const { success, data } = await answer.json() as Json
  t.equal(success, true)
  const { taskId } = data
  t.same(data, {
    taskId,
    status: 'queued',
    statusUrl: `${service.url}/api/jobs/${taskId}/status`,
    resultUrl: `${service.url}/api/jobs/${taskId}/result`,
    cancelUrl: `${service.url}/api/jobs/${taskId}/cancel`
  })
  const location = answer.headers.get('location')
  t.equal(location, `${service.url}/api/v1/jobs/${taskId}`, 'pollers read the status at the top level: the v1 view')
  t.equal(answer.headers.get('operation-location'), answer.headers.get('location'))
  t.equal(answer.headers.get('retry-after'), '1')
  t.same(await resultOf(taskId), { status: 200, contentType: 'text/html; charset=utf-8', text: '<b>hi</b>' })

  const { data: { sanitized, removed } } = await askJson('/api/sanitize', { method: 'POST', body })
  t.equal(sanitized, '<b>hi</b>', 'as from the synchronous API')
  t.same(await events(taskId), Object.entries(removed)
    .map(([kind, count]) => `${kind} ${String(count)}`), 'what was removed is recorded')
  const status = await askJson(`/api/jobs/${taskId}/status`)
  t.match(status.data, { type: 'sanitize', progress: { message: 'removed 1 attribute, 1 element' } })
  t.match(await sql(`SELECT at FROM SanitizationEvent WHERE jobId = '${taskId}'`), /^\d{4}-\d\d-\d\dT[\d:.]+Z/)
})

t.test('a built-in type runs with optional members of null, in an input as in a body', async t => {
  const content = { content: '<i onclick=x>a</i>', contentType: 'text/html' }
  const { taskId } = await accepted({ ...content, options: null })
  t.equal((await resultOf(taskId)).text, '<i>a</i>')
  for (const [type, input] of [['sanitize', { ...content, options: null }], ['report', { from: null, format: null }]] as const) {
    t.match(await finished(await service.submit(type, input)), { status: 'Succeeded' }, type)
  }
})

t.test('accepts the content as a raw body', async t => {
  for (const [contentType, content, clean, kinds] of [
    ['text/html', '<i onclick=x>ö</i>', '<i>ö</i>', ['attribute 1']],
    ['text/plain; charset=UTF-8', 'a\u202eb\r\nc', 'ab\nc', ['bidi 1', 'normalized 1']],
    ['application/x-ndjson', '{"a":"x\u200b"}\n[1.0]\n', '{"a":"x"}\n[1.0]\n', ['invisible 1']]
  ] as const) {
    const { taskId } = await accepted(content, contentType)
    const { status, contentType: type, text } = await resultOf(taskId)
    t.equal(status, 200)
    t.equal(type, `${contentType.split(';', 1)[0]}; charset=utf-8`)
    t.equal(text, clean)
    t.same(await events(taskId), kinds)
  }
})

t.test('the query selects the normalization of a raw body', async t => {
  const compatible = await ask(`${path}?normalization=NFKC`, {
    method: 'POST', body: 'ﬁ', headers: { 'content-type': 'text/plain' }
  })
  t.equal((await resultOf((await compatible.json() as Json).data.taskId)).text, 'fi')
  const rejected = await ask(`${path}?normalization=NFD`, {
    method: 'POST', body: 'ﬁ', headers: { 'content-type': 'text/plain' }
  })
  t.equal(rejected.status, 400)
  t.match(await rejected.json(), { error: { details: { errors: [{ field: 'normalization', rule: 'enum' }] } } })
})

t.test('the JSON of the API is not taken for plain text', async t => {
  const before = await sql('SELECT count(*) FROM JobExecutionLog')
  const object = JSON.stringify({ content: '<b>x</b>', contentType: 'text/html' })
  const large = ` ${JSON.stringify({ options: {}, contentType: 'text/html', content: 'a'.repeat(1024 * 1024) })}\n`
  const answers = [
    // What fetch declares for a string.
    await fetch(service.url + path, { method: 'POST', headers: bearer(), body: object }),
    await post(object, 'text/plain'),
    await post(large, 'text/plain; charset=utf-8'),
    await fetch(service.url + path, { method: 'POST', headers: bearer(), body: Buffer.from(object) })
  ]
  for (const answer of answers) {
    t.equal(answer.status, 415)
    t.match(await answer.json(), { error: { code: 'UNSUPPORTED_MEDIA_TYPE', message: /application\/json/ } })
  }
  t.equal(await sql('SELECT count(*) FROM JobExecutionLog'), before)
  t.equal(await sql('SELECT count(*) FROM OrphanedBytes'), '0', 'nothing is stored of a rejected body')
  const texts = [
    '', '{', '{"content":', '{"content":"a"}', '{"content":1,"contentType":2}', `${object}\n${object}`, '{"a":1}',
    `{"content":"${'a'.repeat(1000)}"`, `[${object}]`, `{"a":"${'b'.repeat(300_000)}"}`
  ]
  for (const text of texts) {
    const { taskId } = await accepted(text, 'text/plain')
    t.equal((await resultOf(taskId)).text, text, text.slice(0, 40))
  }
})

t.test('stores a raw body in chunks and removes them with the record of the job', async t => {
  const content = 'äöü\n'.repeat(100_000)
  const { taskId } = await accepted(content, 'text/plain')
  t.equal((await resultOf(taskId)).text, content)
  const inputId = await sql(`SELECT inputId FROM JobInput WHERE jobId = '${taskId}'`)
  const stored = () => sql(`SELECT count(*) > 1 FROM JobInputChunk WHERE inputId = '${inputId}'`)
  t.equal(await stored(), '1')
  t.equal((await service.ask(`/api/v1/jobs/${taskId}`, { method: 'DELETE' })).status, 204)
  await until(async () => await stored() === '0', 'the bytes to be gone')
  await until(async () => await sql('SELECT count(*) FROM OrphanedBytes') === '0', 'those of the result, too')
})

t.test('a body over INPUT_BYTES_MAX is 413 and creates no job', async t => {
  const before = await sql('SELECT count(*) FROM JobExecutionLog')
  const answer = await post('a'.repeat(3 * 1024 * 1024 + 1), 'text/plain')
  t.equal(answer.status, 413)
  t.equal(answer.headers.get('connection'), 'close')
  t.match(await answer.json(), { success: false, error: { code: 'PAYLOAD_TOO_LARGE', message: /3145728/ } })
  t.equal(await sql('SELECT count(*) FROM JobExecutionLog'), before)
  t.equal(await sql('SELECT count(*) FROM OrphanedBytes'), '0', 'a body with a Content-Length is not read')
  const endless = new ReadableStream({
    pull: async controller => {
      await nextTurn()
      controller.enqueue(new Uint8Array(65_536).fill(97))
    }
  })
  const cut = await fetch(service.url + path, {
    method: 'POST', headers: { ...bearer(), 'content-type': 'text/plain' }, body: endless, duplex: 'half'
  }).then(({ status }) => status, () => 'cut')
  t.ok(cut === 413 || cut === 'cut', 'a body without a length is cut at the limit')
  t.equal(await sql('SELECT count(*) FROM JobExecutionLog'), before)
  const { taskId } = await accepted('a'.repeat(3 * 1024 * 1024), 'text/plain')
  t.equal((await resultOf(taskId)).text.length, 3 * 1024 * 1024, 'a body of exactly the limit is accepted')
})

t.test('a JSON body over 4 MiB is 413, and the error names raw bodies', async t => {
  const answer = await post({ content: 'a'.repeat(4 * 1024 * 1024), contentType: 'text/plain' })
  t.equal(answer.status, 413)
  t.match((await answer.json() as Json).error.message, /text\/plain/)
  const { taskId } = await accepted({ content: 'a'.repeat(2 * 1024 * 1024), contentType: 'text/plain' })
  t.equal((await resultOf(taskId)).text.length, 2 * 1024 * 1024, 'a body too large for the synchronous API is accepted')
})

t.test('an aborted upload creates no job, and its bytes are removed later', async t => {
  const before = await sql('SELECT count(*) FROM JobExecutionLog')
  const chunks = Number(await sql('SELECT count(*) FROM JobInputChunk'))
  const upload = request(service.url + path, { method: 'POST', headers: { ...bearer(), 'content-type': 'text/plain' } })
  upload.on('error', () => {})
  upload.write('a'.repeat(600 * 1024))
  await until(async () => Number(await sql('SELECT count(*) FROM JobInputChunk')) >= chunks + 2, 'the first chunks')
  upload.destroy()
  await until(() => service.logs.some(
    ({ route, msg }) => route === path && msg === 'the client went away'
  ), 'the end of the request')
  t.equal(await sql('SELECT count(*) FROM JobExecutionLog'), before)
  t.ok(Number(
    await sql('SELECT max(forgetAt) FROM OrphanedBytes')
  ) > Date.now(), 'not at once: an upload in progress has the same rows')
  await sql('UPDATE OrphanedBytes SET forgetAt = 1')
  await until(async () => await sql(`SELECT count(*) FROM OrphanedBytes
    UNION ALL SELECT count(*) FROM JobInputChunk WHERE inputId NOT IN (SELECT inputId FROM JobInput WHERE inputId > '')`
  ) === '0\n0', 'the bytes to be gone')
})

t.test('one idempotency key creates one job, from JSON and from raw bytes', async t => {
  for (const [body, contentType, other] of [
    [{ content: 'a', contentType: 'text/plain' }, 'application/json', { content: 'b', contentType: 'text/plain' }],
    ['some bytes', 'text/plain', 'other bytes']
  ] as const) {
    const headers = { 'idempotency-key': `key of ${contentType}`.replaceAll(' ', '-') }
    const first = await accepted(body, contentType, { headers })
    const again = await post(body, contentType, { headers })
    t.equal(again.status, 202)
    t.equal(again.headers.get('idempotency-replayed'), 'true')
    t.equal((await again.json() as Json).data.taskId, first.taskId)
    const reused = await post(other, contentType, { headers })
    t.equal(reused.status, 422)
    t.match(await reused.json(), { success: false, error: { code: 'IDEMPOTENCY_KEY_REUSED' } })
  }
  const asHtml = await post('some bytes', 'text/html', { headers: { 'idempotency-key': 'key-of-text/plain' } })
  t.equal(asHtml.status, 422, 'the same bytes with another media type are another request')
})

t.test('a job reports invalid content', async t => {
  for (const [contentType, content, code] of [
    ['application/x-ndjson', '{"a":1}\n{"secret":\n', 'INVALID_JSON'],
    ['text/plain', Buffer.from([0x61, 0xff]), 'INVALID_INPUT'],
    ['text/html', '<div>'.repeat(600), 'HTML_TOO_DEEP']
  ] as const) {
    const answer = await fetch(service.url + path, {
      method: 'POST', headers: { ...bearer(), 'content-type': contentType }, body: content
    })
    const job = await finished((await answer.json() as Json).data.taskId)
    t.match(job, { status: 'Failed', errorDetails: { code } })
    t.notMatch(JSON.stringify(job), 'secret')
  }
})

t.test('rejects bad requests in the envelope', async t => {
  for (const [body, contentType, status, code] of [
    [{ content: 1 }, 'application/json', 400, 'VALIDATION_FAILED'],
    [{ content: 1 }, 'Application/JSON; charset=utf-8', 400, 'VALIDATION_FAILED'],
    [{ content: 1 }, 'application/json ;x=y', 400, 'VALIDATION_FAILED'],
    ['{', 'application/json', 400, 'VALIDATION_FAILED'],
    ['<a/>', 'text/xml', 415, 'UNSUPPORTED_MEDIA_TYPE'],
    ['a', 'text/plain; charset=latin1', 415, 'UNSUPPORTED_MEDIA_TYPE']
  ] as const) {
    const answer = await post(body, contentType)
    t.equal(answer.status, status, contentType)
    t.match(await answer.json(), { success: false, error: { code } })
  }
  const encoded = await post('a', 'text/plain', { headers: { 'content-encoding': 'gzip' } })
  t.equal(encoded.status, 415)
  t.equal((await post('a', 'text/plain', { claims: { scope: 'jobs:read' } })).status, 403)
  t.equal((await post('a', 'text/plain', { headers: { authorization: '' } })).status, 401)
})

t.test('rejects the query of raw bodies with a JSON body', async t => {
  const answer = await ask(`${path}?normalization=NFKC`, {
    method: 'POST', body: { content: 'a', contentType: 'text/plain' }
  })
  t.equal(answer.status, 400)
  t.match(await answer.json(), { error: { details: { errors: [{ field: 'normalization', rule: 'rawBody' }] } } })
})

t.test('JOB_TYPES applies to sanitizing, too', async t => {
  const other = await startService(t, { WORKERS: '0', JOB_TYPES: 'report,q' })
  for (const [body, contentType] of [
    [{ content: 'a', contentType: 'text/plain' }, 'application/json'], ['a', 'text/plain']
  ] as const) {
    const answer = await other.ask(path, { method: 'POST', body, headers: { 'content-type': contentType } })
    t.equal(answer.status, 400)
    t.match(await answer.json(), {
      error: { details: { errors: [{ field: 'type', rule: 'enum', message: 'type must be one of: report, q' }] } }
    })
  }
})

t.test('the URLs are absolute with PUBLIC_URL', async t => {
  const named = await startService(t, { PUBLIC_URL: 'https://jobs.example/x', WORKERS: '0' })
  const answer = await named.ask(path, { method: 'POST', body: 'a', headers: { 'content-type': 'text/plain' } })
  const { data } = await answer.json() as Json
  t.equal(data.cancelUrl, `https://jobs.example/x/api/jobs/${data.taskId}/cancel`)
  t.equal(answer.headers.get('location'), `https://jobs.example/x/api/v1/jobs/${data.taskId}`)
})

t.test('HTML over 4 MiB fails with INPUT_TOO_LARGE', async t => {
  const large = await startService(t)
  const answer = await large.ask(path, {
    method: 'POST', body: '<b>x</b>'.repeat(600_000), headers: { 'content-type': 'text/html' }
  })
  const job = await large.finished((await answer.json() as Json).data.taskId)
  t.match(job, { status: 'Failed', errorDetails: { code: 'INPUT_TOO_LARGE', message: /4194304/ } })
})
