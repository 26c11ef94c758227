import t from 'tap'
import { type Json, createWorkerClient, jsonOf } from '../../helpers/client.ts'
import { startService } from '../../helpers/service.ts'
import { bearer, type TokenClaims } from '../../helpers/tokens.ts'
import { until } from '../../helpers/until.ts'
import { forceRow, insertRows, whole } from '../rows.ts'

const service = await startService(t, { WORKERS: '1', PRUNE_INTERVAL_SECONDS: '1' })
const { ask, submit, finished, sql } = service
const { claimed, report } = createWorkerClient(service)

const v1 = (id: string) => `/api/v1/jobs/${id}`
const erase = (id: string, claims?: TokenClaims) => ask(v1(id), {
  method: 'DELETE', ...(claims === undefined ? {} : { claims })
})
const readPaths = (id: string) => [v1(id), `/api/jobs/${id}/status`, `${v1(id)}/result`, `/api/jobs/${id}/result`]

const expectFailure = async (answer: Response, status: number, code: string, jobStatus?: string) => {
  t.equal(answer.status, status)
  const body: Json = await answer.json()
  t.match(body, { status, code })
  t.equal(body.jobStatus, jobStatus)
}

t.test('erases a finished job: 204, then 410 for its tenant and 404 for others', async t => {
  const { jobId } = await finished(await submit('report', {}))
  for (const path of readPaths(jobId)) t.equal((await ask(path)).status, 200, 'fills every cache')
  const answer = await erase(jobId)
  t.equal(answer.status, 204)
  t.equal(await answer.text(), '')
  t.equal(answer.headers.get('cache-control'), 'no-store')
  for (const path of readPaths(jobId)) {
    const gone = await ask(path)
    t.equal(gone.status, 410, path)
    t.match(await gone.text(), /"JOB_EXPIRED".*"expiredAt":"\d{4}-/)
    t.equal((await ask(path, { claims: { sub: 'bob', tenant: 'globex' } })).status, 404, path)
  }
  await expectFailure(await erase(jobId), 410, 'JOB_EXPIRED')
  await expectFailure(await erase(jobId, { sub: 'bob', tenant: 'globex' }), 404, 'JOB_NOT_FOUND')
  t.equal((await ask(`${v1(jobId)}/cancel`, { method: 'POST' })).status, 410)
})

t.test('removes record, result, input and sanitization events, and keeps a tombstone', async t => {
  const before = '<script>x</script>abc'
  const { data }: Json = await jsonOf(ask('/api/sanitize/async', {
    method: 'POST', headers: { 'content-type': 'text/html' }, body: before
  }))
  const jobId: string = data.taskId
  await finished(jobId)
  const left = () => sql(`SELECT
    (SELECT count(*) FROM JobExecutionLog WHERE jobId = '${jobId}'), (SELECT count(*) FROM JobResult WHERE jobId = '${jobId}'),
    (SELECT count(*) FROM JobResultChunk WHERE jobId = '${jobId}'), (SELECT count(*) FROM SanitizationEvent WHERE jobId = '${jobId}') > 0,
    (SELECT count(*) FROM JobInput WHERE jobId = '${jobId}'), (SELECT count(*) FROM JobTombstone WHERE jobId = '${jobId}')`)
  t.equal(await left(), '1|1|1|1|1|0')
  t.equal((await erase(jobId)).status, 204)
  await until(async () => await left() === '0|0|0|0|0|1', 'the bytes to be pruned')
  await until(async () => await sql(
    'SELECT (SELECT count(*) FROM JobInputChunk) + (SELECT count(*) FROM OrphanedBytes)'
  ) === '0', 'the input too')
  t.equal(await sql(`SELECT tenant, status FROM JobTombstone WHERE jobId = '${jobId}'`), 'tester|Succeeded')
})

t.test('erases failed and cancelled jobs, and rejects unfinished ones with 409 JOB_ACTIVE', async t => {
  const queued = await submit('work', null)
  await expectFailure(await erase(queued), 409, 'JOB_ACTIVE', 'Queued')
  const { jobId, leaseToken } = await claimed('work')
  t.equal(jobId, queued)
  await expectFailure(await erase(jobId), 409, 'JOB_ACTIVE', 'Running')
  t.equal((await ask(v1(jobId))).headers.get('job-state'), 'running')
  await report(jobId, 'fail', leaseToken, { error: { code: 'E', message: 'm' }, retryable: false })
  t.equal((await erase(jobId)).status, 204)
  const cancelled = await submit('work', null)
  await ask(`${v1(cancelled)}/cancel`, { method: 'POST' })
  t.equal((await erase(cancelled)).status, 204)
})

t.test('erases finished rows of other engines: those of the own tenant, and as an admin those of no tenant', async t => {
  const admin = { sub: 'root', scope: 'jobs:write jobs:admin' }
  await insertRows(service,
    { jobId: 'theirs', status: 'Succeeded', tenant: 'tester', resultUrl: 'https://example.org/a' },
    { jobId: 'theirs-live', status: 'Queued', tenant: 'tester' },
    { jobId: 'no-tenant', status: 'Failed' },
    { jobId: 'no-tenant-live', status: 'Running' },
    { jobId: 'of-acme', status: 'Failed', tenant: 'acme' })
  t.equal((await erase('theirs')).status, 204)
  await expectFailure(await erase('theirs-live'), 409, 'JOB_ACTIVE', 'Queued')
  t.notMatch(await (await erase('theirs-live')).text(), /cancel/, 'which would be JOB_NOT_OURS')
  await expectFailure(await erase('no-tenant'), 403, 'FORBIDDEN')
  await expectFailure(await erase('no-tenant-live'), 403, 'FORBIDDEN')
  t.equal((await ask(v1('no-tenant'))).status, 200)
  await expectFailure(await erase('no-tenant-live', admin), 409, 'JOB_ACTIVE', 'Running')
  t.equal((await erase('no-tenant', admin)).status, 204)
  t.equal((await erase('of-acme', admin)).status, 204)
  t.equal(
    (await ask(v1('no-tenant'))).status, 410, 'every tenant could read the row, so every tenant sees the tombstone'
  )
})

t.test('the response for a job of another tenant equals that for an unknown id, and the job stays', async t => {
  const stranger = { sub: 'bob', tenant: 'globex' }
  const unknown = await whole(await erase('secret', stranger))
  t.equal(unknown.status, 404)
  await insertRows(service, { jobId: 'secret', status: 'Running', tenant: 'acme' })
  t.same(await whole(await erase('secret', stranger)), unknown)
  await sql("UPDATE JobExecutionLog SET status = 'Succeeded' WHERE jobId = 'secret'")
  t.same(await whole(await erase('secret', stranger)), unknown)
  t.equal((await erase('secret', { tenant: 'acme' })).status, 204)
  t.same(await whole(await erase('secret', stranger)), unknown)
})

t.test('requires the scope jobs:write, and a valid id of an intact record', async t => {
  await insertRows(service, { jobId: 'kept', status: 'Succeeded', tenant: 'tester' })
  for (const scope of ['jobs:read', 'jobs:work', 'jobs:read jobs:admin']) {
    await expectFailure(await erase('kept', { scope }), 403, 'FORBIDDEN')
  }
  t.equal((await ask(v1('kept'), { method: 'DELETE', headers: { authorization: '' } })).status, 401)
  await expectFailure(await erase('a%20b'), 404, 'JOB_NOT_FOUND')
  await forceRow(service, { jobId: 'damaged', status: 'Paused', tenant: 'tester' })
  await expectFailure(await erase('damaged'), 500, 'INTERNAL')
  for (const body of ['{"force":true}', 'x']) {
    await expectFailure(await ask(v1('kept'), { method: 'DELETE', body }), 400, 'VALIDATION_FAILED')
  }
  t.equal((await ask(v1('kept'))).status, 200)
  // Some clients send a Content-Type with every request.
  const answer = await fetch(service.url + v1('kept'), {
    method: 'DELETE', headers: { ...bearer(), 'content-type': 'application/json' }
  })
  t.equal(answer.status, 204)
})

t.test('one of many concurrent requests erases the job', async t => {
  await insertRows(service, { jobId: 'contested', status: 'Succeeded', tenant: 'tester' })
  const statuses = await Promise.all(Array.from({ length: 10 }, async () => (await erase('contested')).status))
  t.same(statuses.toSorted(), [204, ...Array.from({ length: 9 }, () => 410)])
})

t.test('a replayed submission of an erased job is 410', async t => {
  const post = () => ask('/api/v1/jobs', {
    method: 'POST', body: { type: 'report', input: {} }, headers: { 'idempotency-key': 'once' }
  })
  const { jobId } = await jsonOf(post())
  await finished(jobId)
  t.equal((await erase(jobId)).status, 204)
  t.equal((await post()).status, 410)
})
