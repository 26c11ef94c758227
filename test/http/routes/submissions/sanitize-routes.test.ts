import { readdirSync, readFileSync } from 'node:fs'
import t from 'tap'
import type { Json } from '../../../helpers/client.ts'
import { startService } from '../../../helpers/service.ts'
import { until } from '../../../helpers/until.ts'

const service = await startService(t)
const { ask, askJson } = service
const path = '/api/sanitize'

const send = (body: unknown, options: Json = {}) => ask(path, { method: 'POST', body, ...options })

// These responses never change, whatever the asynchronous API does.
const folder = 'test/golden/sanitize'
for (const name of readdirSync(folder).sort()) {
  t.test(`golden: ${name}`, async t => {
    const { request, answer } = JSON.parse(readFileSync(`${folder}/${name}`, 'utf8'))
    const got = await send(request)
    t.equal(got.status, 200)
    t.equal(await got.text(), JSON.stringify(answer), 'byte for byte')
  })
}

t.test('the response is JSON that must not be stored', async t => {
  const { headers } = await send({ content: 'a', contentType: 'text/plain' })
  t.equal(headers.get('content-type'), 'application/json; charset=utf-8')
  t.equal(headers.get('cache-control'), 'no-store')
})

t.test('stores nothing', async t => {
  await send({ content: '<script>1</script>', contentType: 'text/html' })
  t.equal(
    await service.sql('SELECT (SELECT count(*) FROM JobExecutionLog) + (SELECT count(*) FROM SanitizationEvent)'), '0'
  )
})

t.test('content that cannot be sanitized is 400, and the error names the rule without quoting the content', async t => {
  const cases: Array<[string, string, string]> = [
    ['application/json', '{"secret":', 'json'],
    ['application/json', '['.repeat(1001) + ']'.repeat(1001), 'maxDepth'],
    ['text/html', '<div>'.repeat(600), 'maxDepth']
  ]
  for (const [contentType, content, rule] of cases) {
    const answer = await send({ content, contentType })
    t.equal(answer.status, 400)
    const text = await answer.text()
    t.match(JSON.parse(text), {
      success: false, error: { code: 'VALIDATION_FAILED', details: { errors: [{ field: 'content', rule }] } }
    })
    t.notMatch(text, 'secret')
  }
})

t.test('options that are null count as left out', async t => {
  const [content, contentType] = ['e\u0301', 'text/plain']
  const expected = await (await send({ content, contentType })).text()
  for (const options of [null, { normalization: null }]) {
    t.equal(await (await send({ content, contentType, options })).text(), expected, JSON.stringify(options))
  }
})

t.test('names the broken rules of a body', async t => {
  for (const [body, field, rule] of [
    [{ contentType: 'text/html' }, 'content', 'required'],
    [{ content: 1, contentType: 'text/html' }, 'content', 'type'],
    [{ content: '', contentType: 'text/css' }, 'contentType', 'enum'],
    [{ content: '', contentType: 'text/html', more: 1 }, 'more', 'additionalProperties'],
    [{ content: '', contentType: 'text/html', options: { normalization: 'NFD' } }, 'options.normalization', 'enum']
  ] as const) {
    const answer = await send(body)
    t.equal(answer.status, 400)
    t.match(await answer.json(), {
      success: false, error: { code: 'VALIDATION_FAILED', details: { errors: [{ field, rule }] } }
    })
  }
  const answer = await send({ content: '', contentType: 'text/html', options: { normalization: '' } })
  t.match(await answer.json(), { error: { message: /: NFC, NFKC, none$/ } })
})

t.test('accepts a content of 1 MiB, however its JSON is written, and rejects a larger one with 413', async t => {
  const mebibyte = 1024 * 1024
  for (const most of ['a'.repeat(mebibyte), '"\n'.repeat(mebibyte / 2), '\u00fc'.repeat(mebibyte / 2)]) {
    const body = { content: most, contentType: 'text/plain' }
    const answer = await send(body)
    t.equal(answer.status, 200)
    t.equal((await answer.json() as Json).data.sanitized, most)
    const escaped = JSON.stringify(body).replaceAll('\u00fc', '\\u00fc')
    t.equal((await ask(path, { method: 'POST', body: escaped })).status, 200)
    const rejected = await send({ ...body, content: `${most}a` })
    t.equal(rejected.status, 413)
    t.match(await rejected.json(), {
      success: false, error: { code: 'PAYLOAD_TOO_LARGE', message: /\/api\/sanitize\/async/ }
    })
  }
})

t.test('BODY_BYTES_MAX does not raise its limit', async t => {
  const other = await startService(t, { WORKERS: '0', BODY_BYTES_MAX: String(2 * 1024 * 1024) })
  const answer = await other.ask(path, {
    method: 'POST', body: { content: 'a'.repeat(1024 * 1024 + 1), contentType: 'text/plain' }
  })
  t.equal(answer.status, 413)
})

t.test('other media types are 415', async t => {
  const answer = await send('<b>', { headers: { 'content-type': 'text/html' } })
  t.equal(answer.status, 415)
  t.match(await answer.json(), {
    success: false, error: { code: 'UNSUPPORTED_MEDIA_TYPE', message: /application\/json/ }
  })
})

t.test('needs the scope jobs:write (403) and a token (401)', async t => {
  const body = { content: 'a', contentType: 'text/plain' }
  const forbidden = await send(body, { claims: { scope: 'jobs:read jobs:work' } })
  t.equal(forbidden.status, 403)
  t.match(await forbidden.json(), { success: false, error: { code: 'FORBIDDEN' } })
  const unknown = await send(body, { headers: { authorization: '' } })
  t.equal(unknown.status, 401)
  t.equal(unknown.headers.get('www-authenticate'), 'Bearer')
})

t.test('rejects requests beyond its queue with 503 and Retry-After, and serves the rest', async t => {
  // Each of these keeps its thread busy for a while.
  const body = JSON.stringify({ content: '<b title=x onclick=y></b>'.repeat(5000), contentType: 'text/html' })
  const asked: Promise<Response>[] = []
  let isRejected = false
  const add = (count: number) => {
    for (let added = 0; added < count; added++) {
      asked.push(send(body).then(answer => {
        isRejected ||= answer.status === 503
        return answer
      }))
    }
  }
  add(110)
  // The thread may have taken some of them before the last arrived.
  await until(() => {
    if (!isRejected) add(10)
    return isRejected
  }, 'a rejection')
  const answers = await Promise.all(asked)
  const rejected = answers.filter(({ status }) => status === 503)
  for (const answer of rejected) {
    t.equal(answer.headers.get('retry-after'), '1')
    t.match(await answer.json(), { success: false, error: { code: 'OVERLOADED' } })
  }
  t.ok(answers.every(({ status }) => [200, 400, 503].includes(status)))
  const after = await until(async () => {
    const answer = await send({ content: 'a', contentType: 'text/plain' })
    return answer.status === 200 ? answer : undefined
  })
  t.equal(after.status, 200)
})

t.test('a long job does not delay it', async t => {
  const { data } = await askJson('/api/sanitize/async', {
    method: 'POST', body: 'ä\u200dé '.repeat(2_000_000), headers: { 'content-type': 'text/plain' }
  })
  t.equal((await send({ content: 'a', contentType: 'text/plain' })).status, 200)
  t.match((await askJson(`/api/jobs/${data.taskId}/status`)).data.status, /queued|running/)
})
