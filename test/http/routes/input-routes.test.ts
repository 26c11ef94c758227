import t from 'tap'
import { createWorkerClient, type Json, jsonOf, workerClaims } from '../../helpers/client.ts'
import { startService } from '../../helpers/service.ts'
import { until } from '../../helpers/until.ts'
import { insertRows, whole } from '../rows.ts'

const service = await startService(t, { PRUNE_INTERVAL_SECONDS: '1' })
const { ask, sql } = service
const worker = createWorkerClient(service)
const inputPath = (jobId: string) => `/api/v1/jobs/${jobId}/input`
const get = (jobId: string, options = {}) => ask(inputPath(jobId), { claims: workerClaims, ...options })

const submitText = async (text: string): Promise<string> =>
  (await jsonOf(ask('/api/v1/jobs', { method: 'POST', body: text }))).jobId

const submitRaw = async (body: string, contentType: string): Promise<string> => {
  const answer: Json = await jsonOf(ask('/api/sanitize/async', {
    method: 'POST', headers: { 'content-type': contentType }, body
  }))
  return answer.data.taskId
}

t.test('returns a JSON input as it was sent, in every state of the job', async t => {
  const text = '{ "n": 1970670598291982290.50, "s": "\\u00e9" }'
  const jobId = await submitText(`{ "type": "seen", "input": ${text} }`)
  const expectInput = async (state: string) => {
    const answer = await get(jobId)
    t.equal(answer.status, 200, state)
    t.equal(answer.headers.get('content-type'), 'application/json; charset=utf-8')
    t.equal(answer.headers.get('cache-control'), 'private, no-store')
    t.equal(await answer.text(), text, state)
    t.equal((await ask(`/api/v1/jobs/${jobId}`)).headers.get('job-state'), state)
  }
  await expectInput('queued')
  const { leaseToken } = await worker.claimed('seen')
  await expectInput('running')
  await worker.report(jobId, 'complete', leaseToken, { result: 1 })
  await expectInput('succeeded')
})

t.test('streams a raw input with its own media type, kept after the end of the job, and safe to open', async t => {
  const html = `<script>alert(1)</script>${'äöü\n'.repeat(200_000)}`
  const jobId = await submitRaw(html, 'text/html')
  await service.finished(jobId)
  const answer = await get(jobId)
  t.equal(answer.status, 200)
  t.equal(answer.headers.get('content-type'), 'text/html')
  t.equal(answer.headers.get('content-length'), String(Buffer.byteLength(html)))
  t.match(answer.headers.get('content-disposition'), /^attachment; filename="input"/)
  t.equal(answer.headers.get('content-security-policy'), "default-src 'none'; sandbox")
  t.equal(answer.headers.get('x-content-type-options'), 'nosniff')
  t.equal(await answer.text(), html)
  const head = await get(jobId, { method: 'HEAD' })
  t.equal(head.status, 200)
  t.equal(head.headers.get('content-length'), String(Buffer.byteLength(html)))
  t.equal(await head.text(), '')
})

t.test('breaks the connection where the stored bytes end early', async t => {
  const jobId = await submitRaw('x'.repeat(600_000), 'text/plain')
  await service.finished(jobId)
  await sql(`DELETE FROM JobInputChunk WHERE startOffset > 300000
    AND inputId = (SELECT inputId FROM JobInput WHERE jobId = '${jobId}')`)
  await t.rejects((await get(jobId)).arrayBuffer())
  await sql(`DELETE FROM JobInputChunk WHERE inputId = (SELECT inputId FROM JobInput WHERE jobId = '${jobId}')`)
  const answer = await get(jobId)
  t.equal(answer.status, 500, 'before the first byte it is an error')
  t.equal(answer.headers.get('content-disposition'), null)
})

t.test('unknown jobs, those of other tenants and malformed ids are the same 404, erased ones 410', async t => {
  const jobId = await submitText('{ "type": "hidden", "input": 1 }')
  const stranger = { sub: 'bob', tenant: 'globex' }
  const same = async (id: string) => JSON.stringify(await whole(await get(id, { claims: stranger }))).replaceAll(id, 'ID')
  const unknown = await same('00000000-0000-0000-0000-000000000000')
  t.match(unknown, /"status":404.*JOB_NOT_FOUND/)
  t.equal(await same(jobId), unknown)
  t.equal((await get('a%20b')).status, 404)
  t.equal((await get(jobId, { claims: { scope: 'jobs:write jobs:work jobs:admin' } })).status, 403)
  t.equal((await get(jobId, { claims: { ...stranger, scope: 'jobs:read jobs:admin' } })).status, 200)
  await ask(`/api/v1/jobs/${jobId}/cancel`, { method: 'POST' })
  t.equal((await get(jobId)).status, 200, 'of a cancelled job')
  await ask(`/api/v1/jobs/${jobId}`, { method: 'DELETE' })
  const gone = await get(jobId)
  t.equal(gone.status, 410)
  t.match(await gone.json(), { code: 'JOB_EXPIRED', expiredAt: String })
  t.equal(await same(jobId), unknown, 'its tombstone too')
  t.equal(await sql(`SELECT count(*) FROM JobInput WHERE jobId = '${jobId}'`), '0')
})

t.test('a row of another engine has no input: 404 NOT_FOUND', async t => {
  await insertRows(service, { jobId: 'theirs', status: 'Running', tenant: 'tester' })
  const answer = await get('theirs')
  t.equal(answer.status, 404)
  t.match(await answer.json(), { code: 'NOT_FOUND', jobStatus: 'Running', instance: inputPath('theirs') })
  t.match(await jsonOf(get('theirs', { claims: { sub: 'bob', tenant: 'globex' } })), { code: 'JOB_NOT_FOUND' })
})

t.test('a row that another program replaces does not keep the input of the one before', async t => {
  const jobId = await submitText('{ "type": "replaced", "input": "secret" }')
  await sql(`DELETE FROM JobExecutionLog WHERE jobId = '${jobId}'`)
  await insertRows(service, { jobId, status: 'Queued', tenant: 'globex' })
  await until(async () => (await get(jobId, { claims: { sub: 'bob', tenant: 'globex' } })).status === 404, 'the new row')
  t.match(await jsonOf(get(jobId, { claims: { sub: 'bob', tenant: 'globex' } })), { code: 'NOT_FOUND' })
})
