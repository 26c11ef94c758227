import t, { type Test } from 'tap'
import type { Ask, Json } from '../../helpers/client.ts'
import { startReceiver } from '../../helpers/receiver.ts'
import { type Environment, startService } from '../../helpers/service.ts'
import { until } from '../../helpers/until.ts'

const start = async (t: Test, env: Environment = {}) => {
  const service = await startService(t, { WORKERS: '0', CALLBACK_HOSTS_ALLOWED: '127.0.0.1', ...env })
  const submit = async (body: Json, more: Ask = {}) =>
    await service.ask('/api/v1/jobs', { method: 'POST', body: { type: 'job', input: 1, ...body }, ...more })
  return {
    ...service,
    submit,
    accepted: async (body: Json, more: Ask = {}): Promise<string> => {
      const answer = await submit(body, more)
      t.equal(answer.status, 202)
      return (await answer.json() as Json).jobId
    },
    items: async (jobId: string, more: Ask = {}): Promise<Json[]> =>
      (await service.askJson(`/api/v1/jobs/${jobId}/callbacks`, more)).items,
    redeliver: (jobId: string, id: string, more: Ask = {}) =>
      service.ask(`/api/v1/jobs/${jobId}/callbacks/${id}/redeliver`, { method: 'POST', ...more })
  }
}

const secret = `whsec_${Buffer.alloc(24, 5).toString('base64')}`

t.test('a callback URL that is not valid, or not allowed, is 400 and names the field', async t => {
  const { submit, sql } = await start(t)
  const invalid: Json[] = [
    'not a url', 'ftp://h.example/', 'https://u:p@h.example/', 'https://h.example/#a', 'https://h.example/a b', '', 5, {},
    `https://h.example/${'a'.repeat(2048)}`
  ]
  for (const callbackUrl of invalid) {
    const answer = await submit({ callbackUrl })
    t.equal(answer.status, 400)
    t.match(await answer.json(), { code: 'VALIDATION_FAILED', errors: [{ field: 'callbackUrl' }] })
  }
  for (const callbackUrl of ['https://10.0.0.1/', 'https://2130706434/', 'https://[::ffff:10.0.0.1]/', 'http://h.example/']) {
    const answer = await submit({ callbackUrl })
    t.equal(answer.status, 400)
    t.match(await answer.json(), { code: 'CALLBACK_REFUSED', errors: [{ field: 'callbackUrl', rule: 'refused' }] })
  }
  for (const callbackSecret of ['whsec_', 'secret', secret.slice(0, 20), 5]) {
    const answer = await submit({ callbackUrl: 'https://h.example/', callbackSecret })
    t.match(await answer.json(), { status: 400, code: 'VALIDATION_FAILED', errors: [{ field: 'callbackSecret' }] })
  }
  t.match(await (await submit({ callbackSecret: secret })).json(), { code: 'VALIDATION_FAILED', errors: [{ field: 'callbackSecret' }] })
  t.equal(await sql('SELECT count(*) FROM JobExecutionLog'), '0')
  t.equal((await submit({ callbackUrl: null, callbackSecret: null })).status, 202)
})

t.test('in production without WEBHOOK_SECRET there are no callbacks', async t => {
  const { submit } = await start(t, { NODE_ENV: 'production', WEBHOOK_SECRET: '' })
  const answer = await submit({ callbackUrl: 'https://h.example/', callbackSecret: secret })
  t.match(await answer.json(), { status: 400, code: 'CALLBACK_REFUSED', detail: /WEBHOOK_SECRET/ })
  t.equal((await submit({})).status, 202)
})

t.test('a job lists its callbacks without what may be secret', async t => {
  const { accepted, items, ask } = await start(t)
  const headers = { 'idempotency-key': 'k' }
  const jobId = await accepted({ callbackUrl: 'https://h.example/a?token=t', callbackSecret: secret }, { headers })
  t.equal(await accepted({ callbackUrl: 'https://h.example:8443/b' }, { headers }), jobId)
  t.equal(await accepted({}, { headers }), jobId)
  t.match(await items(jobId), [
    {
      id: /^cb_/,
      url: 'https://h.example/a',
      state: 'waiting',
      tries: 0,
      lastStatus: null,
      lastError: null,
      lastTriedAt: null,
      nextTryAt: null
    },
    { url: 'https://h.example:8443/b' }
  ])
  const answer = await ask(`/api/v1/jobs/${jobId}/callbacks`)
  t.equal(answer.headers.get('cache-control'), 'private, no-store')
  t.notMatch(await answer.text(), /token|whsec/)
  t.same(await items(await accepted({})), [])
  for (const path of ['c', 'd', 'e']) await accepted({ callbackUrl: `https://h.example/${path}` }, { headers })
})

t.test('a job has at most five', async t => {
  const { submit, items, accepted } = await start(t)
  const headers = { 'idempotency-key': 'k' }
  let jobId = ''
  for (const path of ['a', 'b', 'c', 'd', 'e']) jobId = await accepted({ callbackUrl: `https://h.example/${path}` }, { headers })
  const answer = await submit({ callbackUrl: 'https://h.example/f' }, { headers })
  t.match(await answer.json(), { status: 400, code: 'VALIDATION_FAILED', errors: [{ field: 'callbackUrl', rule: 'maxItems' }] })
  t.equal((await items(jobId)).length, 5)
  await accepted({ callbackUrl: 'https://h.example/a' }, { headers })
})

t.test('sanitizing takes a callback with JSON, as a part of the request that is not its input', async t => {
  const { ask, askJson, items } = await start(t)
  const content = { content: 'a', contentType: 'text/plain' }
  const callback = { callbackUrl: 'https://h.example/a', callbackSecret: secret }
  const { data: { taskId } } = await askJson('/api/sanitize/async', { method: 'POST', body: { ...content, ...callback } })
  t.match(await items(taskId), [{ url: 'https://h.example/a', state: 'waiting' }])
  const refused = await ask('/api/sanitize/async', { method: 'POST', body: { ...content, callbackUrl: 'https://127.0.0.2/' } })
  t.match(await refused.json(), { success: false, error: { code: 'CALLBACK_REFUSED', details: { errors: [{ field: 'callbackUrl' }] } } })
  t.equal((await ask('/api/sanitize', { method: 'POST', body: { ...content, ...callback } })).status, 400)
  const raw = await ask('/api/sanitize/async?callbackUrl=https://h.example/', {
    method: 'POST', body: 'a', headers: { 'content-type': 'text/plain' }
  })
  t.equal(raw.status, 400)
})

t.test('a callback can be asked for once more, once a minute', async t => {
  const receiver = await startReceiver(t)
  const { accepted, items, redeliver, ask } = await start(t)
  const jobId = await accepted({ callbackUrl: receiver.url })
  const [{ id }] = await items(jobId)
  t.match(await (await redeliver(jobId, id)).json(), { status: 409, code: 'JOB_ACTIVE', jobStatus: 'Queued' })
  await ask(`/api/v1/jobs/${jobId}/cancel`, { method: 'POST' })
  await until(async () => (await items(jobId))[0].state === 'delivered', 'the delivery')
  const asked = await redeliver(jobId, id, { body: {} })
  t.equal(asked.status, 202)
  t.equal(await asked.text(), '')
  const received = await receiver.arrived(2)
  t.equal(received[1]?.body, received[0]?.body)
  const again = await redeliver(jobId, id)
  t.match(await again.json(), { status: 429, code: 'RATE_LIMITED' })
  const seconds = Number(again.headers.get('retry-after'))
  t.ok(seconds > 0 && seconds <= 60)
  for (const other of ['cb_other', 'cb_%00', '%00', `${id}%00`, 'cb_%F0%9F%92%A9']) {
    t.match(await (await redeliver(jobId, other)).json(), { status: 404, code: 'NOT_FOUND' })
  }
  t.match(await (await redeliver(jobId, id, { body: { now: true } })).json(), { status: 400 })
})

t.test('only the tenant and admins see and repeat them, and nobody when the job is erased', async t => {
  const { accepted, items, redeliver, ask, sql } = await start(t)
  const jobId = await accepted({ callbackUrl: 'https://h.invalid/' })
  const [{ id }] = await items(jobId)
  const path = `/api/v1/jobs/${jobId}/callbacks`
  t.equal((await ask(path, { claims: { sub: 'other' } })).status, 404)
  t.equal((await ask(path, { claims: { scope: 'jobs:read' } })).status, 403)
  t.equal((await redeliver(jobId, id, { claims: { sub: 'other' } })).status, 404)
  const admin: Ask = { claims: { sub: 'root', scope: 'jobs:write jobs:admin' } }
  t.equal((await items(jobId, admin)).length, 1)
  await sql(`UPDATE JobExecutionLog SET tenant = 'other' WHERE jobId = '${jobId}'`)
  t.same(await items(jobId, { claims: { sub: 'other' } }), [], 'the URLs of another tenant')
  t.equal((await redeliver(jobId, id, { claims: { sub: 'other' } })).status, 404)
  await sql(`UPDATE JobExecutionLog SET tenant = 'tester', status = 'Failed' WHERE jobId = '${jobId}'`)
  t.equal((await ask(`/api/v1/jobs/${jobId}`, { method: 'DELETE' })).status, 204)
  t.equal((await ask(path)).status, 410)
  t.equal((await redeliver(jobId, id)).status, 410)
  t.equal(await sql('SELECT count(*) FROM JobCallback'), '0')
})
