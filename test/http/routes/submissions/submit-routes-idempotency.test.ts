import { randomUUID } from 'node:crypto'
import t from 'tap'
import type { Json } from '../../../helpers/client.ts'
import { startService } from '../../../helpers/service.ts'

const service = await startService(t, { WORKERS: '0' })
const { ask } = service

const post = (key: string, body: unknown, claims = {}) =>
  ask('/api/v1/jobs', { method: 'POST', body, headers: { 'idempotency-key': key }, claims })

/** Submits, and returns status code, id and whether the response was a replay. */
const submit = async (key: string, body: unknown, claims = {}) => {
  const answer = await post(key, body, claims)
  const job: Json = await answer.json()
  return {
    status: answer.status, jobId: job.jobId, code: job.code, replayed: answer.headers.get('idempotency-replayed')
  }
}

t.test('a repeated request returns the same job, with Idempotency-Replayed', async t => {
  const first = await post('key-1', { type: 'x', input: { a: 1 } })
  t.equal(first.status, 202)
  t.notOk(first.headers.has('idempotency-replayed'))
  const again = await post('key-1', { type: 'x', input: { a: 1 } })
  t.equal(again.status, 202)
  t.equal(again.headers.get('idempotency-replayed'), 'true')
  t.equal(again.headers.get('location'), first.headers.get('location'))
  t.ok(again.headers.has('retry-after'))
  t.same(await again.json(), await first.json())
})

t.test('the URLs of a replay are absolute, and what a worker wrote stays as it is', async t => {
  const body = { type: 'x', input: 'url' }
  const { jobId } = await submit('key-url', body)
  const end = async (sql: string) => {
    await service.sql(`UPDATE JobExecutionLog SET ${sql} WHERE jobId = '${jobId}'`)
    return await (await post('key-url', body)).json() as Json
  }
  const other = await submit('key-elsewhere', body)
  await service.sql(`UPDATE JobExecutionLog SET status = 'Succeeded', resultUrl = 'https://files.example.org/1'
    WHERE jobId = '${other.jobId}'`)
  t.equal((await (await post('key-elsewhere', body)).json() as Json).resultUrl, 'https://files.example.org/1')
  const failed = await submit('key-failed', body)
  const errorDetails = { code: 'X', message: '"resultUrl":"/x"', details: { resultUrl: '/x' } }
  await service.sql(`UPDATE JobExecutionLog SET status = 'Failed', errorDetails = '${JSON.stringify(errorDetails)}'
    WHERE jobId = '${failed.jobId}'`)
  t.match(await (await post('key-failed', body)).json(), { resultUrl: null, errorDetails })
  t.match(await end(`status = 'Succeeded', resultUrl = '/api/v1/jobs/${jobId}/result'`), {
    resultUrl: `${service.url}/api/v1/jobs/${jobId}/result`,
    statusUrl: `${service.url}/api/v1/jobs/${jobId}`,
    taskUrl: `${service.url}/api/jobs/${jobId}/status`
  })
})

t.test('a report over all tenants is not replayed to a client without jobs:admin', async t => {
  const body = { type: 'report', input: {} }
  const admin = { scope: 'jobs:read jobs:write jobs:admin' }
  t.equal((await submit('all-tenants', body, admin)).status, 202)
  t.match(await submit('all-tenants', body), { status: 422, code: 'IDEMPOTENCY_KEY_REUSED' })
})

t.test('a replay shows the current state of the job', async t => {
  const body = { type: 'x', input: 'now' }
  const { jobId } = await submit('key-now', body)
  for (const status of ['Running', 'Failed']) {
    await service.sql(`UPDATE JobExecutionLog SET status = '${status}' WHERE jobId = '${jobId}'`)
    const answer = await post('key-now', body)
    t.equal(answer.status, 202)
    t.ok(answer.headers.has('retry-after'))
    t.match(await answer.json(), { jobId, status })
  }
  await service.sql(`DELETE FROM JobExecutionLog WHERE jobId = '${jobId}'`)
  const gone = await post('key-now', body)
  t.equal(gone.status, 410)
  t.match(await gone.json(), { code: 'JOB_EXPIRED' })
})

t.test('bodies that are equal as JSON values are the same request', async t => {
  const texts = [
    '{"type":"x","input":{"b":[1,2.50,{"d":"\\u00fc"}],"a":null},"maxAttempts":2}',
    '{"maxAttempts":2,"input":{"a":null,"b":[1.0,25e-1,{"d":"ü"}]},"type":"x"}',
    ' {\n\t"type" : "x", "maxAttempts": 2e0,\r\n"input": { "b": [ 1, 2.5, { "d": "ü" } ], "a": null } } '
  ]
  const jobs = []
  for (const text of texts) jobs.push(await submit('key-canonical', text))
  t.same(jobs.map(job => job.status), [202, 202, 202])
  t.equal(new Set(jobs.map(job => job.jobId)).size, 1)
})

t.test('numbers are compared by every digit', async t => {
  const input = (number: string) => `{"type":"x","input":{"a":{},"ids":[${number}]}}`
  const { jobId } = await submit('key-digits', input('9007199254740993'))
  for (const other of ['9007199254740992', '9007199254740994', '9007199254740993.5', '"9007199254740993"']) {
    t.match(await submit('key-digits', input(other)), { status: 422, code: 'IDEMPOTENCY_KEY_REUSED' }, other)
  }
  const reordered = '{ "input":{"ids" : [9007199254740993],"a":{}}, "type" : "x" }'
  for (const same of [reordered, input('9007199254740993.0'), input('9.007199254740993e15')]) {
    t.match(await submit('key-digits', same), { status: 202, jobId, replayed: 'true' }, same)
  }
})

t.test('the same key with another body is 422 and creates no job', async t => {
  const { jobId } = await submit('key-other', { type: 'x', input: { list: [1, 2], text: 'a' } })
  const before = await service.sql('SELECT count(*) FROM JobExecutionLog')
  const others = [
    { type: 'y', input: { list: [1, 2], text: 'a' } },
    { type: 'x', input: { list: [2, 1], text: 'a' } },
    { type: 'x', input: { list: [1, 2], text: 'A' } },
    { type: 'x', input: { list: [1, 2], text: 'a', more: null } },
    { type: 'x', input: { list: ['1', 2], text: 'a' } },
    { type: 'x', input: { list: [1, 2], text: 'a' }, timeoutSeconds: 1 }
  ]
  for (const body of others) {
    t.match(
      await submit('key-other', body), { status: 422, code: 'IDEMPOTENCY_KEY_REUSED', replayed: null },
      JSON.stringify(body)
    )
  }
  t.equal(await service.sql('SELECT count(*) FROM JobExecutionLog'), before)
  t.match(await submit('key-other', {
    type: 'x', input: { text: 'a', list: [1, 2] }
  }), { jobId, replayed: 'true' }, 'the first request still replays')
})

t.test('keys of different tenants are independent', async t => {
  const body = { type: 'x', input: 'tenants' }
  const ann = await submit('key-tenant', body, { sub: 'ann', tenant: 'acme' })
  const bob = await submit('key-tenant', body, { sub: 'bob', tenant: 'globex' })
  const carl = await submit('key-tenant', body, { sub: 'carl', tenant: 'acme' })
  t.not(bob.jobId, ann.jobId)
  t.equal(bob.replayed, null)
  t.equal(carl.jobId, ann.jobId)
  t.equal((await submit('key-tenant', { type: 'x', input: 'else' }, { sub: 'dora' })).status, 202)
})

t.test('concurrent requests with one key create one job', async t => {
  const key = randomUUID()
  const jobs = await Promise.all(Array.from({ length: 30 }, () => submit(key, { type: 'x', input: key })))
  t.same(new Set(jobs.map(job => job.status)), new Set([202]))
  t.equal(new Set(jobs.map(job => job.jobId)).size, 1)
  t.equal(jobs.filter(job => job.replayed === null).length, 1, 'one of them created it')
  t.equal(await service.sql(`SELECT count(*) FROM JobInput WHERE input = '"${key}"'`), '1')
})

t.test('a rejected request does not use up its key', async t => {
  t.equal((await submit('key-free', { type: 'report', input: { nope: 1 } })).status, 400)
  t.match(await submit('key-free', { type: 'report', input: {} }), { status: 202, replayed: null })
})

t.test('a key is free again after 24 hours', async t => {
  const body = { type: 'x', input: 'old' }
  const first = await submit('key-old', body)
  await service.sql("UPDATE IdempotencyKey SET createdAt = createdAt - 86340000 WHERE key = 'key-old'")
  t.equal((await submit('key-old', body)).jobId, first.jobId)
  await service.sql("UPDATE IdempotencyKey SET createdAt = createdAt - 60000 WHERE key = 'key-old'")
  const second = await submit('key-old', { type: 'x', input: 'new' })
  t.equal(second.status, 202)
  t.not(second.jobId, first.jobId)
  t.equal((await submit('key-old', { type: 'x', input: 'new' })).jobId, second.jobId, 'and the key is stored again')
})

t.test('different lone surrogates are different requests', async t => {
  const first = await submit('key-half', '{"type":"x","input":"\\ud800"}')
  t.equal(first.status, 202)
  t.equal((await submit('key-half', '{"type":"x","input":"\\uD800"}')).jobId, first.jobId)
  t.equal((await submit('key-half', '{"type":"x","input":"\\ud801"}')).status, 422)
})

t.test('a key that is empty, too long or not printable ASCII is 400', async t => {
  for (const key of ['', 'a'.repeat(256), 'two words', 'ü', 'tab\tin']) {
    const answer = await post(key, { type: 'x', input: 1 })
    t.equal(answer.status, 400, key)
    t.match(await answer.json(), { errors: [{ field: 'idempotency-key' }] })
  }
  for (const key of ['a'.repeat(255), '"quoted"', '!~']) {
    t.equal((await post(key, { type: 'x', input: 1 })).status, 202, key)
  }
})
