import { rm } from 'node:fs/promises'
import t from 'tap'
import { createWorkerClient, jsonOf, workerClaims } from '../../helpers/client.ts'
import { type Service, startService } from '../../helpers/service.ts'
import { until } from '../../helpers/until.ts'
import { awaitWaiting, countWaiting } from '../../helpers/waiting.ts'
import { freezeQueue, insertRows } from '../rows.ts'

/*
 * Submissions and cancellations that wait for the end of their job.
 */

const service = await startService(t, { WORKERS: '0', CANCEL_GRACE_SECONDS: '3600' })
const { ask, sql } = service
const worker = createWorkerClient(service, workerClaims)
const json = { 'content-type': 'application/json' }

let types = 0
const newType = () => `own-${++types}`
const submitAndWait = (type: string, headers: Record<string, string> = {}, query = '?wait=50', of: Service = service) =>
  of.ask(`/api/v1/jobs${query}`, { method: 'POST', body: { type, input: 1 }, headers })

t.test('a submission that waits is 202 with the end of its job', async t => {
  const type = newType()
  const waiting = [submitAndWait(type), submitAndWait(type, { prefer: 'respond-async, wait=50' }, '')]
  await awaitWaiting(service, 2)
  const first = await worker.claimed(type)
  t.equal((await worker.report(first.jobId, 'complete', first.leaseToken, { result: 1 })).status, 200)
  const second = await worker.claimed(type)
  t.equal((await worker.report(second.jobId, 'complete', second.leaseToken, { result: 1 })).status, 200)
  for (const answer of await Promise.all(waiting)) {
    t.equal(answer.status, 202)
    t.equal(answer.headers.get('preference-applied'), 'wait=50')
    const body = await jsonOf(answer)
    t.match(body, { status: 'Succeeded', resultUrl: `${service.url}/api/v1/jobs/${body.jobId}/result` })
    t.same(Object.keys(body).toSorted(), [
      'endTime', 'errorDetails', 'jobId', 'resultUrl', 'startTime', 'status', 'statusUrl', 'taskUrl'
    ])
    t.equal(answer.headers.get('location'), body.statusUrl)
  }
})

t.test('a failure of the job is the end of a wait, and no failure of the submission', async t => {
  const type = newType()
  const waiting = submitAndWait(type)
  await awaitWaiting(service, 1)
  const { jobId, leaseToken } = await worker.claimed(type)
  await worker.report(jobId, 'fail', leaseToken, { error: { code: 'E', message: 'e' }, retryable: false })
  const answer = await waiting
  t.equal(answer.status, 202)
  t.match(await answer.json(), { jobId, status: 'Failed', errorDetails: { code: 'E' } })
})

t.test('a repeated submission waits too, and at once shows an end that was before', async t => {
  const [type, key] = [newType(), { 'idempotency-key': 'a-key' }]
  const waiting = [submitAndWait(type, key)]
  await awaitWaiting(service, 1)
  waiting.push(submitAndWait(type, key))
  await awaitWaiting(service, 2)
  const { jobId, leaseToken } = await worker.claimed(type)
  await worker.report(jobId, 'complete', leaseToken, { result: 1 })
  const answers = await Promise.all([...waiting, submitAndWait(type, key)])
  t.same(answers.map(({ status }) => status), [202, 202, 202])
  t.same(answers.map(({ headers }) => headers.get('idempotency-replayed')), [null, 'true', 'true'])
  for (const answer of answers) t.match(await answer.json(), { jobId, status: 'Succeeded' })
})

t.test('at the limit a submission shows the state as it is', async t => {
  const answer = await submitAndWait(newType(), {}, '?wait=0.05')
  t.equal(answer.status, 202)
  t.equal(answer.headers.get('preference-applied'), 'wait=0.05')
  t.match(await answer.json(), { status: 'Queued' })
  t.match(await jsonOf(submitAndWait(newType(), {}, '?wait=-1')), { code: 'VALIDATION_FAILED', errors: [{ field: 'wait' }] })
})

t.test('/api/sanitize/async waits, with JSON and with raw bodies', async t => {
  const own = await startService(t, { WORKERS: '1' })
  const send = (body: unknown, headers: Record<string, string>) =>
    own.ask('/api/sanitize/async?wait=50', { method: 'POST', body, headers })
  for (const answer of await Promise.all([
    send({ content: '<b onclick=x>hi</b>', contentType: 'text/html' }, json),
    send('<b onclick=x>hi</b>', { 'content-type': 'text/html' })
  ])) {
    t.equal(answer.status, 202)
    t.equal(answer.headers.get('preference-applied'), 'wait=50')
    const { data } = await jsonOf(answer)
    t.match(data, { status: 'succeeded' })
    t.equal(await (await own.ask(`/api/jobs/${data.taskId}/result`)).text(), '<b>hi</b>')
  }
})

t.test('an accepted submission is 202 with its id, whatever ends the wait', async t => {
  const type = newType()
  const expired = await ask('/api/v1/jobs?wait=50', {
    method: 'POST', body: { type, input: 1 }, claims: { expiresIn: 4000 }
  })
  t.equal(expired.status, 202, 'the token has expired')
  t.match(await expired.json(), { status: 'Queued', jobId: /./ })

  const full = await startService(t, { WORKERS: '0', WAITERS_MAX: '1' }, `${service.databasePath}.full`)
  const first = submitAndWait(type, {}, '?wait=50', full)
  await awaitWaiting(full, 1)
  const second = await submitAndWait(type, {}, '?wait=50', full)
  t.equal(second.status, 202, 'no wait is granted')
  t.equal(second.headers.get('preference-applied'), 'wait=0')
  full.app.onDraining()
  const drained = await first
  t.equal(drained.status, 202, 'the process drains')
  t.match(await drained.json(), { status: 'Queued', jobId: /./ })
})

t.test('an accepted submission is 202 with its id, also if the store goes away', async t => {
  const own = await startService(t, { WORKERS: '0' }, `${service.databasePath}.lost`)
  const waiting = submitAndWait(newType(), {}, '?wait=50', own)
  await awaitWaiting(own, 1)
  for (const suffix of ['', '-wal', '-shm']) await rm(`${own.databasePath}${suffix}`, { force: true })
  await until(async () => (await own.ask('/api/v1/jobs/another')).status === 503, 'no store')
  own.app.onDraining()
  const answer = await waiting
  t.equal(answer.status, 202)
  t.match(await answer.json(), { status: 'Queued', jobId: /./ })
})

t.test('a job that is erased or given to others while its submission waits is answered as what it is', async t => {
  const [erased, moved] = [newType(), newType()]
  const waiting = [submitAndWait(erased), submitAndWait(moved)]
  await awaitWaiting(service, 2)
  await sql(`DELETE FROM JobExecutionLog WHERE type = '${erased}'`)
  await sql(`UPDATE JobExecutionLog SET tenant = 'acme' WHERE type = '${moved}'`)
  t.same((await Promise.all(waiting)).map(({ status }) => status), [410, 404])
})

const running = async () => {
  const type = newType()
  await service.submit(type, 1)
  const claimed = await worker.claimed(type)
  await freezeQueue(service)
  return claimed
}
const cancelPaths = (jobId: string) => [`/api/v1/jobs/${jobId}/cancel`, `/api/jobs/${jobId}/cancel`]

t.test('a cancellation that waits is 200 once the job is cancelled', async t => {
  const { jobId, leaseToken } = await running()
  const waiting = cancelPaths(jobId).map(path => ask(`${path}?wait=50`, { method: 'POST' }))
  await awaitWaiting(service, 2)
  await until(async () => (await jsonOf(ask(`/api/jobs/${jobId}/status`))).data.cancelRequested, 'the request')
  t.equal(await countWaiting(service), 2)
  await worker.report(jobId, 'fail', leaseToken, { error: { code: 'E', message: 'e' } })
  for (const answer of await Promise.all(waiting)) {
    t.equal(answer.status, 200)
    t.equal(answer.headers.get('preference-applied'), 'wait=50')
    t.equal(answer.headers.get('job-state'), 'cancelled')
  }
  const again = await ask(`${cancelPaths(jobId)[0]}?wait=50`, { method: 'POST' })
  t.same([again.status, again.headers.get('preference-applied')], [200, 'wait=50'], 'at once')
})

t.test('a cancellation that waits is 409 if the job completes', async t => {
  const { jobId, leaseToken } = await running()
  const waiting = cancelPaths(jobId).map(path => ask(`${path}?wait=50`, { method: 'POST' }))
  await awaitWaiting(service, 2)
  await worker.report(jobId, 'complete', leaseToken, { result: 1 })
  const [first, second] = await Promise.all(waiting)
  t.equal(first?.status, 409)
  t.match(await first?.json(), { code: 'JOB_FINISHED', jobStatus: 'Succeeded' })
  t.match(await second?.json(), { success: false, error: { code: 'JOB_FINISHED', details: { jobStatus: 'Succeeded' } } })
})

t.test('a cancellation that waits is 202 at the limit, and 401 at the end of its token', async t => {
  const { jobId } = await running()
  const [path = ''] = cancelPaths(jobId)
  const answer = await ask(`${path}?wait=0.05`, { method: 'POST' })
  t.equal(answer.status, 202)
  t.equal(answer.headers.get('preference-applied'), 'wait=0.05')
  const expired = await ask(`${path}?wait=50`, { method: 'POST', claims: { expiresIn: 2000 } })
  t.equal(expired.status, 401)
  await insertRows(service, { jobId: 'not-ours', status: 'Running', tenant: 'tester' })
  t.equal((await ask('/api/v1/jobs/not-ours/cancel?wait=50', { method: 'POST' })).status, 409, 'at once')
})
