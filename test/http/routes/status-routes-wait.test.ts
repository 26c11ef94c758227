import t from 'tap'
import { createWorkerClient, workerClaims } from '../../helpers/client.ts'
import { startRedis } from '../../helpers/redis.ts'
import { startService } from '../../helpers/service.ts'
import { until } from '../../helpers/until.ts'
import { awaitWaiting, countWaiting } from '../../helpers/waiting.ts'
import { insertRows } from '../rows.ts'

const service = await startService(t, { WORKERS: '0', WAITERS_MAX: '6' })
const { ask, askJson, sql } = service
const worker = createWorkerClient(service)
let jobs = 0
const newJob = async (status = 'Running') => {
  const jobId = `job-${++jobs}`
  await insertRows(service, { jobId, status })
  return jobId
}
const finish = (jobId: string) => sql(`UPDATE JobExecutionLog SET status = 'Succeeded' WHERE jobId = '${jobId}'`)

t.test('both views wait for the end of the job', async t => {
  for (const toPath of [(id: string) => `/api/v1/jobs/${id}`, (id: string) => `/api/jobs/${id}/status`]) {
    const jobId = await newJob()
    const waiting = [ask(`${toPath(jobId)}?wait=50`), ask(toPath(jobId), { headers: { prefer: 'wait=50' } })]
    await awaitWaiting(service, 2)
    await sql(`UPDATE JobExecutionLog SET progressPercent = 50 WHERE jobId = '${jobId}'`)
    await until(async () => (await ask(toPath(jobId))).headers.get('job-progress') === '50')
    t.equal(await countWaiting(service), 2, 'progress is not the end')
    await finish(jobId)
    for (const answer of await Promise.all(waiting)) {
      t.equal(answer.status, 200)
      t.equal(answer.headers.get('preference-applied'), 'wait=50')
      t.equal(answer.headers.get('job-state'), 'succeeded')
      t.match(JSON.stringify(await answer.json()), /"status":"[Ss]ucceeded"/)
    }
    await awaitWaiting(service, 0)
  }
})

t.test('with If-None-Match any other version is awaited', async t => {
  const jobId = await newJob()
  const path = `/api/v1/jobs/${jobId}`
  const eTag = (await ask(path)).headers.get('etag') ?? ''
  const waiting = ask(`${path}?wait=50`, { headers: { 'if-none-match': eTag } })
  await awaitWaiting(service, 1)
  await sql(`UPDATE JobExecutionLog SET progressPercent = 50 WHERE jobId = '${jobId}'`)
  const answer = await waiting
  t.equal(answer.status, 200)
  t.equal(answer.headers.get('job-progress'), '50')
  const older = await ask(`${path}?wait=50`, { headers: { 'if-none-match': eTag } })
  t.equal(older.status, 200, 'the client has an older version: at once')
  await finish(jobId)
  const last = (await ask(`${path}?wait=50`)).headers.get('etag') ?? ''
  const same = await ask(`${path}?wait=50`, { headers: { 'if-none-match': last } })
  t.equal(same.status, 304, 'nothing will change any more: at once')
})

t.test('If-None-Match: * waits for the end', async t => {
  const jobId = await newJob()
  const waiting = ask(`/api/v1/jobs/${jobId}?wait=50`, { headers: { 'if-none-match': '*' } })
  await awaitWaiting(service, 1)
  await sql(`UPDATE JobExecutionLog SET progressPercent = 50 WHERE jobId = '${jobId}'`)
  await until(async () => (await ask(`/api/v1/jobs/${jobId}`)).headers.get('job-progress') === '50')
  t.equal(await countWaiting(service), 1)
  await finish(jobId)
  const answer = await waiting
  t.equal(answer.status, 304)
  t.equal(answer.headers.get('job-state'), 'succeeded')
})

t.test('at the limit the current state is sent, 304 where the client has it', async t => {
  const jobId = await newJob()
  const answer = await ask(`/api/v1/jobs/${jobId}?wait=0.05`)
  t.equal(answer.status, 200)
  t.equal(answer.headers.get('preference-applied'), 'wait=0.05')
  t.match(await answer.json(), { status: 'Running' })
  const headers = { 'if-none-match': answer.headers.get('etag') ?? '' }
  t.equal((await ask(`/api/v1/jobs/${jobId}?wait=0.05`, { headers })).status, 304)
  t.equal((await ask(`/api/v1/jobs/${jobId}?wait=0`)).headers.get('preference-applied'), 'wait=0')
})

t.test('unknown, foreign and gone jobs are answered at once, and so is one that becomes so', async t => {
  t.equal((await ask('/api/v1/jobs/no-such-job?wait=50')).status, 404)
  const [erased, moved] = [await newJob(), await newJob()]
  const waiting = [erased, moved].map(jobId => ask(`/api/v1/jobs/${jobId}?wait=50`))
  await awaitWaiting(service, 2)
  await sql(`DELETE FROM JobExecutionLog WHERE jobId = '${erased}'`)
  await sql(`UPDATE JobExecutionLog SET tenant = 'others' WHERE jobId = '${moved}'`)
  t.same((await Promise.all(waiting)).map(({ status }) => status), [410, 404])
  t.equal((await ask(`/api/v1/jobs/${erased}?wait=50`)).status, 410)
  t.equal((await ask(`/api/v1/jobs/${moved}?wait=50`)).status, 404)
})

t.test('a wait that is not a number of seconds is 400', async t => {
  for (const wait of ['-1', 'x', 'NaN']) {
    t.match(await askJson(`/api/v1/jobs/a?wait=${wait}`), { code: 'VALIDATION_FAILED', errors: [{ field: 'wait' }] })
  }
  t.match(
    await askJson('/api/jobs/a/status?wait=-1'),
    { error: { code: 'VALIDATION_FAILED', details: { errors: [{ field: 'wait' }] } } }
  )
})

t.test('at the end of its token a wait is 401', async t => {
  const jobId = await newJob()
  const answer = await ask(`/api/v1/jobs/${jobId}?wait=50`, { claims: { expiresIn: 2000 } })
  t.equal(answer.status, 401)
  t.match(answer.headers.get('www-authenticate'), /invalid_token.*expired/)
  await awaitWaiting(service, 0)
})

t.test('beyond WAITERS_MAX, and half of it for one tenant, a wait is granted 0', async t => {
  const jobId = await newJob()
  const path = `/api/v1/jobs/${jobId}?wait=50`
  const asTenant = (tenant: string) => ask(path, { claims: { tenant } })
  const first = [asTenant('a'), asTenant('a'), asTenant('a')]
  await awaitWaiting(service, 3)
  const beyondHalf = await asTenant('a')
  t.equal(beyondHalf.headers.get('preference-applied'), 'wait=0')
  t.match(await beyondHalf.json(), { status: 'Running' })
  const second = [asTenant('b'), asTenant('b'), asTenant('b')]
  await awaitWaiting(service, 6)
  t.equal((await asTenant('c')).headers.get('preference-applied'), 'wait=0')
  await finish(jobId)
  for (const answer of await Promise.all([...first, ...second])) t.equal(answer.headers.get('job-state'), 'succeeded')
})

t.test('a client that leaves makes room', async t => {
  const jobId = await newJob()
  const leaving = new AbortController()
  const waiting = ask(`/api/v1/jobs/${jobId}?wait=50`, { signal: leaving.signal })
  await awaitWaiting(service, 1)
  leaving.abort()
  await t.rejects(waiting)
  await awaitWaiting(service, 0)
})

t.test('the metrics say how soon the end of a job was shown, and keep long polls apart', async t => {
  const jobId = await service.submit('own-type', {})
  const waiting = ask(`/api/v1/jobs/${jobId}?wait=50`)
  await awaitWaiting(service, 1)
  const { leaseToken } = await worker.claimed('own-type')
  t.equal((await worker.report(jobId, 'complete', leaseToken, { result: 1 })).status, 200)
  t.equal((await waiting).headers.get('job-state'), 'succeeded')
  const metrics = await (await ask('/metrics')).text()
  t.match(metrics, /^job_notice_seconds_count 1$/m)
  t.match(metrics, /http_request_duration_seconds_count{method="GET",route="\/api\/v1\/jobs\/:jobId",status="200",kind="long-poll"}/)
})

t.test('a process that drains answers every wait at once, and grants none', async t => {
  const draining = await startService(t, { WORKERS: '0', DRAIN_DELAY_SECONDS: '1' })
  await insertRows(draining, { jobId: 'job-1', status: 'Running' })
  const waiting = draining.ask('/api/v1/jobs/job-1?wait=50')
  await awaitWaiting(draining, 1)
  await draining.sql("UPDATE JobExecutionLog SET progressPercent = 50 WHERE jobId = 'job-1'")
  await until(async () => (await draining.ask('/api/v1/jobs/job-1')).headers.get('job-progress') === '50')
  draining.app.onDraining()
  const answer = await waiting
  t.equal(answer.status, 200)
  t.equal(answer.headers.get('job-progress'), '50', 'as new as what was revealed before it ended')
  t.equal(answer.headers.get('connection'), 'close')
  t.match(await answer.json(), { status: 'Running' })
  const late = await draining.ask('/api/v1/jobs/job-1?wait=50')
  t.equal(late.headers.get('preference-applied'), 'wait=0')
})

t.test('a change by another process on the same database and Redis ends a wait', async t => {
  const redis = await startRedis(t)
  const first = await startService(t, { WORKERS: '0', REDIS_URL: redis.url })
  const second = await startService(t, { WORKERS: '0', REDIS_URL: redis.url }, first.databasePath)
  const jobId = await first.submit('own-type', {})
  const waiting = second.ask(`/api/v1/jobs/${jobId}?wait=50`)
  await awaitWaiting(second, 1)
  const other = createWorkerClient(first, workerClaims)
  const { leaseToken } = await other.claimed('own-type')
  t.equal((await other.report(jobId, 'complete', leaseToken, { result: 1 })).status, 200)
  t.equal((await waiting).headers.get('job-state'), 'succeeded')
})
