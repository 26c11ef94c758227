import t, { type Test } from 'tap'
import { type Json, createWorkerClient, jsonOf } from '../../helpers/client.ts'
import { startService } from '../../helpers/service.ts'
import { bearer, type TokenClaims } from '../../helpers/tokens.ts'
import { until } from '../../helpers/until.ts'
import { forceRow, insertRows, whole } from '../rows.ts'

const service = await startService(t, { WORKERS: '0' })
const { ask, askJson, submit, sql } = service
const { claimed, report } = createWorkerClient(service)

const paths = (id: string) => [`/api/v1/jobs/${id}/cancel`, `/api/jobs/${id}/cancel`] as const
const statusPaths = (id: string) => [`/api/v1/jobs/${id}`, `/api/jobs/${id}/status`] as const
const cancel = (path: string, claims?: TokenClaims) => ask(path, {
  method: 'POST', ...(claims === undefined ? {} : { claims })
})

const run = async (type: string) => {
  await submit(type, null)
  return await claimed(type)
}

const laterReports: Array<[command: string, body: unknown]> =
  [['progress', {}], ['complete', { result: 1 }], ['fail', { error: { code: 'E', message: 'm' } }]]

/** Status code, failure code and job status of an error in either shape. */
const failureOf = async (answer: Response) => {
  const body: Json = await answer.json()
  return {
    status: answer.status,
    code: body.code ?? body.error.code,
    jobStatus: body.jobStatus ?? body.error?.details?.jobStatus
  }
}

/** The response equals that of a status read in the same view. */
const expectStatusView = async (t: Test, answer: Response, statusPath: string, status: number) => {
  const got = await whole(answer)
  const { headers: { link = '', ...headers }, ...expected } = await whole(await ask(statusPath))
  const shownLink = status === 202 ? link.replaceAll('</', `<${service.url}/`) : link
  t.same(got, { ...expected, headers: { ...headers, link: shownLink }, status })
  return { headers: got.headers, body: JSON.parse(got.body) }
}

t.test('cancels a queued job at once: 200 with its status', async t => {
  for (const at of [0, 1] as const) {
    const jobId = await submit('unclaimed', null)
    t.match((await ask(statusPaths(jobId)[at])).headers.get('link'), new RegExp(`<${paths(jobId)[at]}>; rel="cancel"`))
    const { headers, body } = await expectStatusView(t, await cancel(paths(jobId)[at]), statusPaths(jobId)[at], 200)
    t.equal(headers['job-state'], 'cancelled')
    t.equal(headers['retry-after'], undefined)
    t.equal(headers.link, `<${statusPaths(jobId)[at]}>; rel="status"`, 'no result, and no cancellation')
    if (at === 0) {
      t.match(body, {
        jobId, status: 'Failed', endTime: String, resultUrl: null, errorDetails: { code: 'JOB_CANCELLED' }
      })
    } else {
      t.match(body.data, {
        taskId: jobId,
        status: 'cancelled',
        isTerminal: true,
        isSuccess: false,
        cancelRequested: true,
        attempt: 0,
        failure: { code: 'JOB_CANCELLED' },
        pollAfterMs: null
      })
    }
    t.equal((await ask(`/api/v1/jobs/${jobId}/result`)).status, 409)
  }
})

t.test('asks the worker of a running job to stop: 202 with its status, then cancelled once the worker fails the run', async t => {
  for (const at of [0, 1] as const) {
    const { jobId, leaseToken } = await run(`run-${at}`)
    const { headers } = await expectStatusView(t, await cancel(paths(jobId)[at]), statusPaths(jobId)[at], 202)
    t.match(headers, { 'job-state': 'running', 'retry-after': /^[1-9]/, 'retry-after-ms': /^[1-9]/, etag: /^"/ })
    t.match(headers.link, `<${service.url}${paths(jobId)[at]}>; rel="cancel"`, 'absolute, as in every 202')
    t.match((await askJson(`/api/jobs/${jobId}/status`)).data, {
      status: 'running', isTerminal: false, cancelRequested: true
    })
    t.match(await jsonOf(report(jobId, 'progress', leaseToken)), { cancelRequested: true })
    t.equal((await cancel(paths(jobId)[at])).status, 202, 'again')
    await report(jobId, 'fail', leaseToken, { error: { code: 'STOPPED', message: 'stopped' } })
    t.match((await askJson(`/api/jobs/${jobId}/status`)).data, {
      status: 'cancelled', failure: { code: 'JOB_CANCELLED' }
    })
    t.equal((await cancel(paths(jobId)[at])).status, 200)
  }
})

t.test('a job that completes before its worker sees the request stays succeeded', async t => {
  const { jobId, leaseToken } = await run('quick')
  t.equal((await cancel(paths(jobId)[0])).status, 202)
  t.equal((await report(jobId, 'complete', leaseToken, { result: 1 })).status, 200)
  t.match((await askJson(`/api/jobs/${jobId}/status`)).data, {
    status: 'succeeded', cancelRequested: false, resultAvailable: true
  })
  t.same(await failureOf(await cancel(paths(jobId)[0])), { status: 409, code: 'JOB_FINISHED', jobStatus: 'Succeeded' })
})

t.test('cancels a job after the grace period if its worker does not stop, and rejects the worker from then on', async t => {
  const hasty = await startService(t, { WORKERS: '0', CANCEL_GRACE_SECONDS: '1' })
  const worker = createWorkerClient(hasty)
  await hasty.submit('deaf', null)
  const { jobId, leaseToken } = await worker.claimed('deaf')
  t.equal((await hasty.ask(paths(jobId)[1], { method: 'POST' })).status, 202)
  const job = await hasty.finished(jobId)
  t.match(job, { status: 'Failed', errorDetails: { code: 'JOB_CANCELLED' } })
  for (const [command, body] of laterReports) {
    t.match(await failureOf(await worker.report(
      jobId, command, leaseToken, body
    )), { status: 409, code: 'LEASE_LOST' }, command)
  }
  t.same(await hasty.askJson(`/api/v1/jobs/${jobId}`), job)
})

t.test('repeated and concurrent cancellations change the job once', async t => {
  const jobId = await submit('unclaimed', null)
  const answers = await Promise.all(Array.from({ length: 20 }, (_, at) => cancel(paths(jobId)[at % 2] ?? '')))
  t.ok(answers.every(({ status }) => status === 200))
  t.equal(new Set(answers.map(({ headers }) => headers.get('etag'))).size, 1, 'one change')
})

t.test('cancelling a finished job is 409 JOB_FINISHED, with its status', async t => {
  const { jobId: failed, leaseToken } = await run('failing')
  await report(failed, 'fail', leaseToken, { error: { code: 'E', message: 'm' }, retryable: false })
  const before = await whole(await ask(`/api/v1/jobs/${failed}`))
  for (const path of paths(failed)) {
    t.same(await failureOf(await cancel(path)), { status: 409, code: 'JOB_FINISHED', jobStatus: 'Failed' })
  }
  t.same(await whole(await ask(`/api/v1/jobs/${failed}`)), before)
})

t.test('cancelling a row of another engine is 409 JOB_NOT_OURS in any state, with and without a tenant', async t => {
  const admin = { scope: 'jobs:write jobs:admin' }
  await insertRows(service,
    { jobId: 'theirs-queued', status: 'Queued', tenant: 'tester' },
    { jobId: 'theirs-running', status: 'Running', tenant: 'tester' },
    { jobId: 'theirs-done', status: 'Succeeded', tenant: 'tester' },
    { jobId: 'no-tenant', status: 'Running' })
  for (const id of ['theirs-queued', 'theirs-running', 'theirs-done', 'no-tenant']) {
    for (const path of paths(id)) {
      for (const claims of [undefined, admin]) {
        t.match(await failureOf(await cancel(path, claims)), { status: 409, code: 'JOB_NOT_OURS' }, path)
      }
    }
    t.notMatch((await ask(`/api/v1/jobs/${id}`)).headers.get('link'), /cancel/)
  }
})

t.test('cancelling a job that was submitted here and has no tenant needs jobs:admin, as erasing it does', async t => {
  const jobId = await submit('unclaimed', null)
  await sql(`UPDATE JobExecutionLog SET tenant = NULL WHERE jobId = '${jobId}'`)
  for (const path of paths(jobId)) {
    t.match(await failureOf(await cancel(path)), { status: 403, code: 'FORBIDDEN' }, path)
  }
  t.equal((await cancel(paths(jobId)[0], { scope: 'jobs:write jobs:admin' })).status, 200)
})

t.test('the response for a job of another tenant equals that for an unknown id, byte for byte', async t => {
  const stranger = { sub: 'bob', tenant: 'globex' }
  const states = {
    'secret-queued': { status: 'Queued', submittedBy: 'ann' },
    'secret-running': { status: 'Running', submittedBy: 'ann' },
    'secret-done': { status: 'Succeeded', submittedBy: 'ann' },
    'secret-theirs': { status: 'Running' }
  }
  for (const [jobId, columns] of Object.entries(states)) {
    const unknown = await Promise.all(paths(jobId).map(async path => await whole(await cancel(path, stranger))))
    t.ok(unknown.every(({ status, body }) => status === 404 && body.includes('JOB_NOT_FOUND')))
    await insertRows(service, { jobId, tenant: 'acme', ...columns })
    t.same(await Promise.all(paths(jobId).map(async path => await whole(await cancel(path, stranger)))), unknown, jobId)
    await forceRow(service, { jobId: `${jobId}-damaged`, status: 'Paused', tenant: 'acme' })
    t.equal((await cancel(paths(`${jobId}-damaged`)[0], stranger)).status, 404)
  }
  await sql("DELETE FROM JobExecutionLog WHERE jobId = 'secret-done'")
  for (const path of paths('secret-done')) {
    t.equal((await cancel(path, stranger)).status, 404)
    t.match(await failureOf(await cancel(path, { tenant: 'acme' })), { status: 410, code: 'JOB_EXPIRED' })
  }
  t.equal(
    await sql(
      "SELECT count(*) FROM JobExecutionLog WHERE jobId LIKE 'secret-%' AND (cancelledAt IS NOT NULL OR cancelRequestedAt IS NOT NULL)"
    ), '0'
  )
})

t.test('requires the scope jobs:write, and a valid id of an intact record', async t => {
  const jobId = await submit('unclaimed', null)
  for (const path of paths(jobId)) {
    for (const scope of ['jobs:read', 'jobs:work', 'jobs:admin', 'jobs:read jobs:admin']) {
      t.match(await failureOf(await cancel(path, { scope })), { status: 403, code: 'FORBIDDEN' }, scope)
    }
    t.equal((await ask(path, { method: 'POST', headers: { authorization: '' } })).status, 401)
  }
  t.equal((await askJson(`/api/v1/jobs/${jobId}`)).status, 'Queued')
  t.match(await failureOf(await cancel('/api/v1/jobs/a%20b/cancel')), { status: 404, code: 'JOB_NOT_FOUND' })
  t.match(await failureOf(await cancel('/api/jobs/a%20b/cancel')), { status: 400, code: 'INVALID_TASK_ID' })
  await forceRow(service, { jobId: 'damaged', status: 'Paused', tenant: 'tester' })
  for (const path of paths('damaged')) t.match(await failureOf(await cancel(path)), { status: 500, code: 'INTERNAL' })
  t.equal((await cancel(paths(jobId)[1], {
    sub: 'root', scope: 'jobs:write jobs:admin'
  })).status, 200, "an admin cancels any tenant's")
})

t.test('accepts an empty body or {} with any content type, and rejects all others with 400', async t => {
  const post = async (
    path: string, body: string | undefined, type: string | undefined
  ) => await fetch(service.url + path, {
    method: 'POST',
    headers: { ...bearer(), ...(type === undefined ? {} : { 'content-type': type }) },
    // fetch adds a Content-Type to a string, but not to bytes.
    ...(body === undefined ? {} : { body: Buffer.from(body) })
  })
  const jobId = await submit('unclaimed', null)
  for (const path of paths(jobId)) {
    for (const type of [
      undefined, 'application/json', 'application/json; charset=utf-8', 'text/plain',
      'application/x-www-form-urlencoded'
    ]) {
      for (const body of ['[]', 'null', '0', '""', '{"reason":"x"}', '{"__proto__":{}}', '{', 'a=b', '  ']) {
        const answer = await post(path, body, type)
        t.equal(answer.status, 400, `${body} as ${type}`)
        const { errors } = await answer.json().then((json: Json) => json.error?.details ?? json)
        t.match(errors, [{ field: 'body', message: 'body must be empty, or {}' }])
      }
    }
  }
  t.equal((await askJson(`/api/v1/jobs/${jobId}`)).status, 'Queued')
  for (const path of paths(jobId)) {
    for (const type of [undefined, 'application/json', 'text/plain', 'application/x-www-form-urlencoded']) {
      for (const body of [undefined, '', '{}', ' { }\n']) {
        t.equal((await post(path, body, type)).status, 200, `${body} as ${type}`)
      }
    }
  }
})

t.test('stops a processor of the embedded worker early', async t => {
  const own = await startService(t, {
    WORKERS: '1', CANCEL_GRACE_SECONDS: '3600', LEASE_SECONDS: '3600', BODY_BYTES_MAX: String(8 * 1024 * 1024)
  })
  // Seconds of work without a progress report, whose response could carry the request to cancel.
  const content = '<p><a href="x" onclick=y>b</a></p>'.repeat(100_000)
  const jobId = await own.submit('sanitize', { content, contentType: 'text/html' })
  await until(async () => (await own.askJson(`/api/v1/jobs/${jobId}`)).status === 'Running', 'the run')
  t.equal((await own.ask(`/api/jobs/${jobId}/cancel`, { method: 'POST' })).status, 202)
  t.match(await own.finished(jobId), { status: 'Failed', errorDetails: { code: 'JOB_CANCELLED' } })
  t.match((await own.askJson(`/api/jobs/${jobId}/status`)).data, {
    status: 'cancelled', attempt: 1, resultAvailable: false
  })
  t.match(await own.finished(await own.submit('report', {})), { status: 'Succeeded' }, 'and the slot is free again')
})
