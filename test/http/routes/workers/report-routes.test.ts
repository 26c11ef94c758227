import { createHash } from 'node:crypto'
import t, { type Test } from 'tap'
import { startService } from '../../../helpers/service.ts'
import { bearer } from '../../../helpers/tokens.ts'
import { until } from '../../../helpers/until.ts'
import { createWorkerClient, type Json, jsonOf, workerClaims } from '../../../helpers/client.ts'
import { freezeQueue, insertRows } from '../../rows.ts'

const service = await startService(t, { WORKERS: '0', LEASE_SECONDS: '3600', PRUNE_INTERVAL_SECONDS: '86400' })
const { ask, askJson, submit, sql } = service
const worker = createWorkerClient(service)
const { claimed, report } = worker

const begin = async (type = 'work') => {
  await submit(type, null)
  return await claimed(type)
}
const taskOf = async (jobId: string) => (await askJson(`/api/jobs/${jobId}/status`)).data
const post = async (path: string, token: string, headers: Record<string, string>, body?: string) =>
  await ask(path, {
    method: 'POST',
    claims: workerClaims,
    headers: {
      'lease-token': token, ...headers
    },
    ...(body === undefined ? {} : { body })
  })

t.test('progress is visible to clients and renews the lease', async t => {
  const { jobId, leaseToken, leaseExpiresAt } = await begin()
  await sql(`UPDATE JobQueue SET leaseExpiresAt = leaseExpiresAt - 5000 WHERE jobId = '${jobId}'`)
  const answer = await report(jobId, 'progress', leaseToken, {
    done: 30, total: 120, stage: 'reading', message: 'row 30'
  })
  t.equal(answer.status, 200)
  const lease = await jsonOf(answer)
  t.same(Object.keys(lease), ['leaseExpiresAt', 'cancelRequested'])
  t.equal(lease.cancelRequested, false)
  t.ok(lease.leaseExpiresAt >= leaseExpiresAt)
  t.match(await taskOf(jobId), {
    status: 'running', progress: { percent: 25, done: 30, total: 120, stage: 'reading', message: 'row 30' }
  })
  t.equal((await report(jobId, 'progress', leaseToken, { percent: 10 })).status, 200)
  t.match(await taskOf(jobId), { progress: { percent: 25 } }, 'a lower percent is accepted and ignored')
  await report(jobId, 'progress', leaseToken, { percent: 100 })
  t.match(await taskOf(jobId), { status: 'running', progress: { percent: 99 } }, 'at most 99 until the run is complete')
})

t.test('an empty report is a heartbeat: it renews the lease, and clients see no change', async t => {
  const { jobId, leaseToken } = await begin()
  const path = `/api/v1/worker/jobs/${jobId}/progress`
  // A new estimate of the remaining time would be a visible change.
  await report(jobId, 'progress', leaseToken, { percent: 50 })
  await sql(`UPDATE JobExecutionLog SET startTime = '2026-01-01T00:00:00Z' WHERE jobId = '${jobId}'`)
  const version = () => sql(`SELECT version FROM JobExecutionLog WHERE jobId = '${jobId}'`)
  const before = await version()
  const empties: Array<[string, Record<string, string>, string | undefined]> = [
    ['no body', {}, undefined],
    ['an empty JSON body', { 'content-type': 'application/json' }, ''],
    ['an empty form, as from curl -d ""', { 'content-type': 'application/x-www-form-urlencoded' }, ''],
    ['{}', { 'content-type': 'application/json' }, '{}']
  ]
  for (const [what, headers, body] of empties) {
    await sql(`UPDATE JobQueue SET leaseExpiresAt = leaseExpiresAt - 5000 WHERE jobId = '${jobId}'`)
    const due = Number(await sql(`SELECT leaseExpiresAt FROM JobQueue WHERE jobId = '${jobId}'`))
    const answer = await post(path, leaseToken, headers, body)
    t.equal(answer.status, 200, what)
    t.ok(Date.parse((await jsonOf(answer)).leaseExpiresAt) > due, what)
  }
  t.equal(await version(), before)
  const chunked = await fetch(service.url + path, {
    method: 'POST',
    headers: { ...bearer(workerClaims), 'lease-token': leaseToken, 'content-type': 'application/json' },
    body: new ReadableStream({ start: controller => { controller.close() } }),
    duplex: 'half'
  })
  t.equal(chunked.status, 200, 'an empty body of unknown length')
  t.equal((await post(path, leaseToken, { 'content-type': 'text/plain' }, 'x')).status, 415)
})

t.test('rejects an invalid report with 400, naming the field', async t => {
  const { jobId, leaseToken } = await begin()
  const before = await taskOf(jobId)
  const wrong: Array<[string, string, unknown]> = [
    ['progress', 'percent', { percent: '5' }], ['progress', 'percent', { percent: [5] }],
    ['progress', 'total', { total: '9' }], ['progress', 'stage', { stage: 5 }],
    ['progress', 'eta', { eta: 5 }], ['progress', 'body', []], ['progress', 'body', null],
    ['progress', 'body', '{"percent":1e999}'],
    ['complete', 'output', { output: 1 }], ['complete', 'body', { result: 1, resultUrl: 'https://example.org/a' }],
    ['complete', 'body', []], ['complete', 'body', 'null'], ['complete', 'body', '{'],
    ...['/relative', 'ftp://example.org/a', 'javascript:alert(1)', '', 'https://'].map(resultUrl =>
      ['complete', 'resultUrl', { resultUrl }] as [string, string, unknown]),
    ['complete', 'resultUrl', { resultUrl: 5 }],
    ['complete', 'resultUrl', { resultUrl: `https://example.org/${'a'.repeat(8192)}` }],
    ['fail', 'error', { error: [] }], ['fail', 'error', { error: 5 }], ['fail', 'body', 'null'], ['fail', 'body', '{'],
    ['fail', 'error.message', { error: { code: 'E', message: { en: 'm' } } }],
    ['fail', 'retryable', { error: { code: 'E', message: 'm' }, retryable: 'no' }],
    // Perhaps a misspelt `retryable`.
    ['fail', 'retriable', { error: { code: 'E', message: 'm' }, retriable: false }]
  ]
  for (const [command, field, body] of wrong) {
    const answer = await report(jobId, command, leaseToken, body)
    t.equal(answer.status, 400, `${command} ${JSON.stringify(body).slice(0, 80)}`)
    t.match((await jsonOf(answer)).errors[0], { field })
  }
  t.same(await taskOf(jobId), before)
})

t.test('no description of a failure keeps the end of a job from being recorded', async t => {
  const error = { code: 'E', message: 'm' }
  const deep = JSON.parse(`${'['.repeat(70)}${']'.repeat(70)}`)
  const noMessage = 'The worker reported no message.'
  const family = '\u{1f468}\u200d\u{1f469}\u200d\u{1f467}'
  const cases: Array<[what: string, body: unknown, failure: object]> = [
    ['a long message', { error: { code: 'E', message: 'x'.repeat(2001) } }, { code: 'E', message: `${'x'.repeat(1999)}…` }],
    ['a message as long as allowed', { error: { code: 'E', message: '\u{1f600}'.repeat(2000) } }, {
      code: 'E', message: '\u{1f600}'.repeat(2000)
    }],
    ['a character of several code points at the cut', { error: { code: 'E', message: 'x'.repeat(1997) + family + 'y' } }, {
      code: 'E', message: `${'x'.repeat(1997)}…`
    }],
    ['one character longer than the limit', { error: { code: 'E', message: `a${'\u0301'.repeat(3000)}` } }, {
      code: 'E', message: `a${'\u0301'.repeat(1998)}…`
    }],
    ['a long code', { error: { code: 'E'.repeat(101), message: 'm' } }, { code: `${'E'.repeat(99)}…`, message: 'm' }],
    ['an odd code', { error: { code: 'E / ä\n"', message: 'm' } }, { code: 'E / ä\n"', message: 'm' }],
    ['large details', { error: { ...error, details: 'x'.repeat(16 * 1024) } }, { ...error, details: { truncated: true } }],
    ['deep details', { error: { ...error, details: deep } }, { ...error, details: { truncated: true } }],
    ['details with __proto__', '{"error":{"code":"E","message":"m","details":{"__proto__":1}}}', {
      ...error, details: { truncated: true }
    }],
    ['details that are deep in a member named twice', '{"error":{"code":"E","message":"m","details":' +
      `{"a":${'['.repeat(64)}${']'.repeat(64)},"a":1}}}`, { ...error, details: { truncated: true } }],
    ['details of null', { error: { ...error, details: null } }, error],
    ['an empty code', { error: { code: '', message: 'm' } }, { code: 'UNSPECIFIED', message: 'm' }],
    ['no code', { error: { message: 'm' } }, { code: 'UNSPECIFIED', message: 'm' }],
    ['a number as the code', { error: { code: 404, message: 'm' } }, { code: '404', message: 'm' }],
    ['numbers of any length', '{"error":{"code":9007199254740993,"message":-1.50}}', {
      code: '9007199254740993', message: '-1.50'
    }],
    ['an empty message', { error: { code: 'E', message: '' } }, { code: 'E', message: '' }],
    ['no message', { error: { code: 'E', message: null } }, { code: 'E', message: noMessage }],
    ['further members', { error: { ...error, stack: 's', cause: deep } }, error],
    ['a text as the error', { error: 'out of memory' }, { code: 'UNSPECIFIED', message: 'out of memory' }],
    ['lone surrogates and NUL', { error: { code: 'E\ud800', message: 'a\u0000b\udfff' } }, {
      code: 'E\ufffd', message: 'a\ufffdb\ufffd'
    }],
    ['control characters', { error: { code: 'E', message: 'a\u001b[31m\r\n\tb' } }, { code: 'E', message: 'a\u001b[31m\r\n\tb' }]
  ]
  for (const [what, body, failure] of cases) {
    const { jobId, leaseToken } = await begin()
    const withRetry = typeof body === 'string' ? body.replace(/}$/, ',"retryable":false}') : { ...body as object, retryable: false }
    const answer = await report(jobId, 'fail', leaseToken, withRetry)
    t.equal(answer.status, 200, what)
    t.match(await answer.json(), { status: 'Failed' }, what)
    t.strictSame((await askJson(`/api/v1/jobs/${jobId}`)).errorDetails, failure, what)
  }
  const { jobId, leaseToken } = await begin()
  const bytes = Buffer.from('{"error":{"code":"E","message":"Fehler: \xfc"},"retryable":false}', 'latin1')
  const latin = await fetch(`${service.url}/api/v1/worker/jobs/${jobId}/fail`, {
    method: 'POST',
    headers: { ...bearer(workerClaims), 'lease-token': leaseToken, 'content-type': 'application/json' },
    body: bytes
  })
  t.match(await latin.json(), { status: 'Failed', errorDetails: { message: 'Fehler: \ufffd' } }, 'bytes that are not UTF-8')
})

t.test('a failure without any description is recorded, and the job is retried', async t => {
  for (const body of [undefined, {}, { error: null, retryable: null }]) {
    const { jobId, leaseToken } = await begin()
    t.match(await jsonOf(report(jobId, 'fail', leaseToken, body)), { status: 'Queued' })
    await sql(`DELETE FROM JobExecutionLog WHERE jobId = '${jobId}'`)
  }
})

t.test('no description of progress keeps the lease from being renewed', async t => {
  const { jobId, leaseToken } = await begin()
  const cases: Array<[what: string, body: object, progress: object]> = [
    ['a negative percent', { percent: -1 }, { percent: 0 }],
    ['unknown numbers', { done: -1, total: -1 }, { done: null, total: null }],
    ['members of null', { percent: null, stage: null, message: null }, { percent: 0, stage: null, message: null }],
    ['long texts', { stage: 's'.repeat(101), message: 'x'.repeat(998) + '\u{1f1e9}\u{1f1ea}y' }, {
      stage: `${'s'.repeat(99)}…`, message: `${'x'.repeat(998)}…`
    }],
    ['lone surrogates and NUL', { stage: '\ud800', message: '\u0000' }, { stage: '\ufffd', message: '\ufffd' }],
    ['a percent above 100', { percent: 100.5 }, { percent: 99 }]
  ]
  for (const [what, body, progress] of cases) {
    t.equal((await report(jobId, 'progress', leaseToken, body)).status, 200, what)
    t.match((await taskOf(jobId)).progress, progress, what)
  }
})

t.test('a report without Lease-Token is 400, naming the header', async t => {
  const { jobId } = await begin()
  for (const [command, body] of [
    ['progress', {}], ['complete', {}], ['fail', { error: { code: 'E', message: 'm' } }], ['release', {}]
  ] as const) {
    const answer = await report(jobId, command, null, body)
    t.equal(answer.status, 400, command)
    t.match(await answer.json(), { code: 'VALIDATION_FAILED', errors: [{ field: 'lease-token', rule: 'required' }] })
  }
})

const results: Record<string, { result: unknown, text: string }> = {
  null: { result: null, text: 'null' },
  false: { result: false, text: 'false' },
  'a text': { result: 'ä"\u2028', text: JSON.stringify('ä"\u2028') },
  'an object with an error in it': { result: { error: null, list: [1] }, text: '{"error":null,"list":[1]}' }
}

for (const [what, { result, text }] of Object.entries(results)) {
  t.test(`accepts a JSON result with the completion: ${what}`, async t => {
    const { jobId, leaseToken } = await begin()
    const answer = await report(jobId, 'complete', leaseToken, { result })
    t.equal(answer.status, 200)
    t.equal(answer.headers.get('job-state'), 'succeeded')
    const job = await jsonOf(answer)
    t.same(job, await askJson(`/api/v1/jobs/${jobId}`), 'the v1 view')
    t.match(job, { jobId, status: 'Succeeded', resultUrl: `/api/v1/jobs/${jobId}/result`, errorDetails: null })
    const stored = await ask(job.resultUrl)
    t.match(stored.headers.get('content-type'), /^application\/json/)
    t.match(stored.headers.get('content-disposition'), 'filename="result.json"')
    t.equal(await stored.text(), text)
    t.same((await taskOf(jobId)).result, result, 'included in the status')
  })
}

t.test('stores a large JSON result, and leaves it out of the status', async t => {
  const { jobId, leaseToken } = await begin()
  const result = 'x'.repeat(600_000)
  t.equal((await report(jobId, 'complete', leaseToken, { result })).status, 200)
  t.equal((await taskOf(jobId)).result, null)
  t.equal(await askJson(`/api/v1/jobs/${jobId}/result`), result)
})

t.test('a JSON result that is too large is 413, and the run continues', async t => {
  const { jobId, leaseToken } = await begin()
  const answer = await report(jobId, 'complete', leaseToken, { result: 'x'.repeat(1024 * 1024) })
  t.equal(answer.status, 413)
  t.match(await answer.json(), { code: 'PAYLOAD_TOO_LARGE', detail: /PUT/ })
  t.equal((await report(jobId, 'progress', leaseToken)).status, 200)
})

t.test('accepts a result URL, or no result', async t => {
  const elsewhere = await begin()
  // As long as presigned URLs with a session token are.
  const resultUrl = `https://files.example.org/a.csv?x=${'A'.repeat(8000)}`
  t.match(await (await report(elsewhere.jobId, 'complete', elsewhere.leaseToken, { resultUrl })).json(), {
    status: 'Succeeded', resultUrl
  })
  const answer = await ask(`/api/v1/jobs/${elsewhere.jobId}/result`)
  t.equal(answer.status, 303)
  t.equal(answer.headers.get('location'), resultUrl)

  const without = await begin()
  t.match(await (await report(without.jobId, 'complete', without.leaseToken)).json(), {
    status: 'Succeeded', resultUrl: null
  })
  t.match(await askJson(`/api/v1/jobs/${without.jobId}/result`), { code: 'NO_RESULT' })

  const ofNull = await begin()
  await report(ofNull.jobId, 'complete', ofNull.leaseToken, { resultUrl: null })
  t.match(await askJson(`/api/v1/jobs/${ofNull.jobId}/result`), { code: 'NO_RESULT' }, 'a URL of null is none')
  const givenNull = await begin()
  await report(givenNull.jobId, 'complete', givenNull.leaseToken, { resultUrl: null, result: null })
  t.equal(await askJson(`/api/v1/jobs/${givenNull.jobId}/result`), null, 'a result of null is one')
})

t.test('retries a failed run unless the failure is not retryable', async t => {
  const { jobId, leaseToken } = await begin('failing')
  const error = { code: 'E_NET', message: 'unreachable', details: { host: 'x' } }
  const answer = await report(jobId, 'fail', leaseToken, { error })
  t.equal(answer.status, 200)
  t.match(await answer.json(), { jobId, status: 'Queued', errorDetails: null })
  await sql(`UPDATE JobQueue SET availableAt = 0 WHERE jobId = '${jobId}'`)
  const second = await claimed('failing')
  t.equal(second.attempt, 2)
  t.match(await (await report(jobId, 'fail', second.leaseToken, { error, retryable: false })).json(), {
    status: 'Failed', errorDetails: error
  })
  t.match(await taskOf(jobId), { status: 'failed', failure: error, attempt: 2 })
})

const attemptsOf = async (jobId: string): Promise<Json[]> => (await askJson(`/api/v1/jobs/${jobId}/attempts`)).items

t.test('the same end that is reported again under its lease gets the same answer', async t => {
  const error = { code: 'E', message: 'x'.repeat(3000) }
  const ends: Array<[what: string, command: string, body: object | undefined, other: [string, object]]> = [
    ['an upload', 'complete', undefined, ['complete', { result: 1 }]],
    ['a result', 'complete', { result: { a: 1 } }, ['complete', { result: { a: 2 } }]],
    ['a URL', 'complete', { resultUrl: 'https://example.org/a' }, ['complete', { resultUrl: 'https://example.org/b' }]],
    ['a final failure', 'fail', { error, retryable: false }, ['fail', { error }]],
    ['a failure', 'fail', { error }, ['fail', { error: { code: 'E', message: 'another' } }]],
    ['a release', 'release', {}, ['complete', {}]]
  ]
  for (const [what, command, body, [otherCommand, otherBody]] of ends) {
    const { jobId, leaseToken } = await begin(`repeated-${command}`)
    if (what === 'an upload') await worker.upload(jobId, leaseToken, 0, 'abc')
    const first = await report(jobId, command, leaseToken, body)
    const [eTag, text] = [first.headers.get('etag'), await first.text()]
    const second = await report(jobId, command, leaseToken, body)
    t.equal(second.status, 200, what)
    t.same([second.headers.get('etag'), await second.text()], [eTag, text], what)
    for (const [token, why] of [[leaseToken, 'another report'], ['guess', 'another lease']] as const) {
      const late = why === 'another report' ? [otherCommand, otherBody] as const : [command, body] as const
      t.match(await jsonOf(report(jobId, late[0], token, late[1])), { code: 'LEASE_LOST' }, `${what}: ${why}`)
    }
    t.equal((await attemptsOf(jobId)).length, 1, what)
    await sql(`DELETE FROM JobExecutionLog WHERE jobId = '${jobId}'`)
    await until(async () => (await report(jobId, command, leaseToken, body)).status === 410, `the erasure after ${what}`)
  }
})

t.test('a released job can be claimed at once, and its attempt does not count', async t => {
  const { jobId, leaseToken } = await begin('released')
  await report(jobId, 'progress', leaseToken, { percent: 50 })
  await worker.upload(jobId, leaseToken, 0, 'half of it')
  const partial = await ask(`/api/v1/jobs/${jobId}/result?partial=true`)
  t.equal(partial.headers.get('job-attempt'), '1')
  const answer = await report(jobId, 'release', leaseToken, {})
  t.equal(answer.status, 200)
  t.equal(answer.headers.get('cancel-requested'), 'false')
  t.match(await answer.json(), { jobId, status: 'Queued', errorDetails: null })
  t.match(await taskOf(jobId), { status: 'queued', attempt: 0, progress: { percent: 0 } })
  const second = await claimed('released')
  t.match(second, { jobId, attempt: 1 })
  await expectLeaseLost(t, jobId, leaseToken, 'released', 'release')
  await worker.upload(jobId, second.leaseToken, 0, 'whole')
  const whole = await ask(`/api/v1/jobs/${jobId}/result?partial=true`)
  t.equal(await whole.text(), 'whole')
  t.equal(whole.headers.get('job-attempt'), '2', 'so that no reader takes the bytes of two runs for one')
  await report(jobId, 'complete', second.leaseToken)
  t.equal((await ask(`/api/v1/jobs/${jobId}/result?partial=true`)).headers.get('job-attempt'), '2')
  t.equal((await report(jobId, 'release', second.leaseToken, { more: 1 })).status, 400)

  const cancelled = await begin('released')
  await ask(`/api/v1/jobs/${cancelled.jobId}/cancel`, { method: 'POST' })
  const stopped = await report(cancelled.jobId, 'release', cancelled.leaseToken)
  t.equal(stopped.headers.get('job-state'), 'cancelled')
  t.equal(stopped.headers.get('cancel-requested'), 'true')
})

t.test('an upload that did not arrive as the worker says keeps the run from completing', async t => {
  const { jobId, leaseToken } = await begin()
  const digestOf = (text: string) => `sha-256=:${createHash('sha256').update(text).digest('base64')}:`
  const complete = (body: object, headers: Record<string, string> = {}) =>
    report(jobId, 'complete', leaseToken, body, { claims: workerClaims, headers })
  const expectMismatch = async (offset: number, answer: Response, what: string, detail: RegExp = /./) => {
    t.equal(answer.status, 409, what)
    t.match(await answer.json(), { code: 'OFFSET_MISMATCH', offset, detail }, what)
    t.equal((await taskOf(jobId)).status, 'running', what)
  }
  await expectMismatch(0, await complete({ sizeBytes: 3 }), 'no bytes')
  await expectMismatch(0, await complete({}, { 'repr-digest': digestOf('abc') }), 'no bytes, by their digest')
  await worker.upload(jobId, leaseToken, 0, 'ab')
  await expectMismatch(2, await complete({ sizeBytes: 3 }), 'too few', /has 2 bytes, and sizeBytes says 3\.$/)
  await worker.upload(jobId, leaseToken, 2, 'c')
  await expectMismatch(3, await complete({ sizeBytes: 2 }), 'too many')
  const others = await complete({ sizeBytes: 3 }, { 'repr-digest': digestOf('abd') })
  await expectMismatch(3, others, 'others', /has the sha-256 \S+, and Repr-Digest says another\.$/)
  for (const digest of ['', 'x', 'sha-256=abc', 'sha-256=:YQ==:', 'sha-512=:YQ==:', `${digestOf('abc')}, x`]) {
    const answer = await complete({}, { 'repr-digest': digest })
    t.equal(answer.status, 400, digest)
    t.match(await answer.json(), { errors: [{ field: 'repr-digest' }] })
  }
  for (const [body, field] of [
    [{ sizeBytes: -1 }, 'sizeBytes'], [{ sizeBytes: '3' }, 'sizeBytes'], [{ sizeBytes: 3, result: 1 }, 'sizeBytes'],
    [{ sizeBytes: 3, resultUrl: 'https://example.org' }, 'sizeBytes']
  ] as const) {
    t.match(await jsonOf(complete(body)), { code: 'VALIDATION_FAILED', errors: [{ field }] }, JSON.stringify(body))
  }
  t.match(await jsonOf(complete({ result: 1 }, { 'repr-digest': digestOf('1') })), { errors: [{ field: 'repr-digest' }] })
  const whole = { 'repr-digest': `unixsum=:YQ==:, ${digestOf('abc')}` }
  t.equal((await complete({ sizeBytes: 3 }, whole)).status, 200)
  t.equal((await complete({ sizeBytes: 3 }, whole)).status, 200, 'also when it is repeated')
})

t.test('the attempts of a job show when each began and how it ended', async t => {
  const { jobId, leaseToken } = await begin('history')
  const error = { code: 'E_NET', message: 'unreachable', details: { host: 'x' } }
  t.match(await attemptsOf(jobId), [{ attempt: 1, startedAt: String, endedAt: null, outcome: null, failure: null }])
  const again = async () => {
    await sql(`UPDATE JobQueue SET availableAt = 0 WHERE jobId = '${jobId}'`)
    return await claimed('history')
  }
  const expire = (column: string) => sql(`UPDATE JobQueue SET ${column} = 1 WHERE jobId = '${jobId}'`)
  const isQueued = async () => (await taskOf(jobId)).status === 'queued'
  await report(jobId, 'fail', leaseToken, { error })
  await report(jobId, 'release', (await again()).leaseToken)
  await sql(`UPDATE JobQueue SET maxAttempts = 9 WHERE jobId = '${jobId}'`)
  await again()
  await expire('leaseExpiresAt')
  await until(isQueued, 'the rescue')
  await again()
  await expire('deadlineAt')
  await until(isQueued, 'the end of its time')
  const last = await again()
  await report(jobId, 'complete', last.leaseToken, { result: 1 })
  const failure = { code: 'E_NET', message: 'unreachable' }
  const timedOut = { code: 'TIMEOUT', message: 'The run took longer than timeoutSeconds.' }
  const answer = await ask(`/api/v1/jobs/${jobId}/attempts`)
  t.equal(answer.headers.get('cache-control'), 'private, no-store')
  const { items } = await jsonOf(answer)
  t.strictSame(items.map(({ attempt, outcome, failure }: Json) => [attempt, outcome, failure]), [
    [1, 'failed', failure], [2, 'released', null], [2, 'lease-lost', null], [3, 'timed-out', timedOut],
    [4, 'succeeded', null]
  ])
  for (const { startedAt, endedAt } of items) t.ok(startedAt <= endedAt)
  t.equal(items.at(-1).startedAt, (await taskOf(jobId)).startedAt)

  const cancelled = await begin('history')
  await ask(`/api/v1/jobs/${cancelled.jobId}/cancel`, { method: 'POST' })
  await report(cancelled.jobId, 'fail', cancelled.leaseToken, { error })
  t.match(await attemptsOf(cancelled.jobId), [{ outcome: 'cancelled', failure }])
  await ask(`/api/v1/jobs/${cancelled.jobId}`, { method: 'DELETE' })
  t.equal((await ask(`/api/v1/jobs/${cancelled.jobId}/attempts`)).status, 410)
  t.equal(await sql(`SELECT count(*) FROM JobAttempt WHERE jobId = '${cancelled.jobId}'`), '0')
})

t.test('the attempts of a job are for those who may read it', async t => {
  const path = `/api/v1/jobs/${(await begin('history')).jobId}/attempts`
  await insertRows(service, { jobId: 'engine-0', status: 'Running' })
  t.same(await askJson('/api/v1/jobs/engine-0/attempts'), { items: [] }, 'a job of another engine has none')
  t.equal((await ask(path, { claims: { scope: 'jobs:write jobs:work' } })).status, 403)
  t.equal((await ask(path, { claims: { tenant: 'other' } })).status, 404)
  t.equal((await ask('/api/v1/jobs/a%20b/attempts')).status, 404)
})

t.test('the attempts reveal no state that the status does not show yet', async t => {
  const { jobId, leaseToken } = await begin('history')
  await askJson(`/api/v1/jobs/${jobId}`)
  await report(jobId, 'complete', leaseToken)
  t.match(await attemptsOf(jobId), [{ outcome: 'succeeded' }])
  t.match(await askJson(`/api/v1/jobs/${jobId}`), { status: 'Succeeded' })
})

const commands: Record<string, (jobId: string, token: string) => Promise<Response>> = {
  heartbeat: (jobId, token) => report(jobId, 'progress', token),
  progress: (jobId, token) => report(jobId, 'progress', token, { percent: 77 }),
  upload: (jobId, token) => worker.upload(jobId, token, 0, 'late'),
  'empty upload': (jobId, token) => worker.upload(jobId, token, 0, ''),
  'completion of an upload': (jobId, token) => report(jobId, 'complete', token),
  'completion with a result': (jobId, token) => report(jobId, 'complete', token, { result: 'late' }),
  'completion with a URL': (jobId, token) => report(jobId, 'complete', token, {
    resultUrl: 'https://example.org/late'
  }),
  failure: (jobId, token) => report(jobId, 'fail', token, { error: { code: 'E', message: 'late' } }),
  release: (jobId, token) => report(jobId, 'release', token),
  input: (jobId, token) => worker.input(jobId, token)
}

/** Every command with this token is LEASE_LOST and changes nothing. */
const expectLeaseLost = async (t: Test, jobId: string, token: string, why: string, except?: string) => {
  const rows = () => sql(`SELECT * FROM JobQueue ORDER BY jobId; SELECT jobId, startOffset, bytes FROM JobResultChunk;
    SELECT * FROM JobResult; SELECT * FROM JobAttempt; SELECT max(version) FROM JobChange`)
  const traces = async () => [await (await ask(`/api/jobs/${jobId}/status`)).text(), await rows()]
  await freezeQueue(service)
  const before = await traces()
  for (const [what, command] of Object.entries(commands)) {
    if (what === except) continue
    const answer = await command(jobId, token)
    t.equal(answer.status, 409, `${why}: ${what}`)
    t.match(await answer.json(), { code: 'LEASE_LOST', status: 409 })
    t.same(await traces(), before, `${why}: ${what} changes nothing`)
  }
}

t.test('every command of a worker that has lost its lease is LEASE_LOST and changes nothing', async t => {
  const first = await begin('paused')
  const { jobId } = first
  await worker.upload(jobId, first.leaseToken, 0, 'half of it')
  await sql(`UPDATE JobQueue SET leaseExpiresAt = 1, leaseMs = 1 WHERE jobId = '${jobId}'`)
  await until(async () => (await taskOf(jobId)).status === 'queued', 'the rescue')
  await expectLeaseLost(t, jobId, first.leaseToken, 'queued again')

  await sql(`UPDATE JobQueue SET availableAt = 0 WHERE jobId = '${jobId}'`)
  const second = await claimed('paused')
  t.equal(second.attempt, 2)
  await worker.upload(jobId, second.leaseToken, 0, 'whole')
  await expectLeaseLost(t, jobId, first.leaseToken, 'run by another worker')
  await expectLeaseLost(t, jobId, 'guess', 'a guessed token')
  await report(jobId, 'complete', second.leaseToken)
  t.equal(await (await ask(`/api/v1/jobs/${jobId}/result`)).text(), 'whole')
  await expectLeaseLost(t, jobId, first.leaseToken, 'finished')
  await expectLeaseLost(t, jobId, second.leaseToken, 'finished by this worker', 'completion of an upload')
})

t.test('commands for jobs of other engines and for unclaimed jobs are LEASE_LOST', async t => {
  const queued = await submit('not-claimed', 1)
  await expectLeaseLost(t, queued, 'guess', 'never claimed')
  await insertRows(service, { jobId: 'engine-1', status: 'Running', tenant: 'tester' }, {
    jobId: 'engine-2', status: 'Queued'
  })
  await expectLeaseLost(t, 'engine-1', 'guess', 'another engine\'s')
  await expectLeaseLost(t, 'engine-2', 'guess', 'another engine\'s, of no tenant')
})

t.test('a job of another tenant gets the 404 of an unknown one, and an erased job 410', async t => {
  const theirs = await submit('theirs', 1, { claims: { tenant: 'other' } })
  const { leaseToken } = await claimed('theirs', {}).catch(() => ({ leaseToken: 'guess' }))
  t.equal(leaseToken, 'guess', 'no access to the job')
  const other = createWorkerClient(service, { ...workerClaims, tenant: 'other' })
  const held = await other.claimed('theirs')
  const gone = (await begin()).jobId
  await sql(`DELETE FROM JobExecutionLog WHERE jobId = '${gone}'`)
  for (const [what, command] of Object.entries(commands)) {
    const unknown = await command('no-such-job', held.leaseToken)
    t.equal(unknown.status, 404, what)
    const foreign = await command(theirs, held.leaseToken)
    t.equal(foreign.status, 404, what)
    t.equal((await foreign.text()).replaceAll(theirs, 'no-such-job'), await unknown.text(), what)
    t.equal((await command('a%20b', 'x')).status, 404, `${what}: an invalid id`)
    const answer = await command(gone, 'x')
    t.equal(answer.status, 410, what)
    t.match(await answer.json(), { code: 'JOB_EXPIRED', expiredAt: String })
  }
  const admin = createWorkerClient(service, { scope: 'jobs:work jobs:admin' })
  t.equal((await admin.report(theirs, 'progress', held.leaseToken)).status, 200, 'an admin has access')
  t.equal((await other.report(theirs, 'complete', held.leaseToken)).status, 200)
})

t.test('a record that another program has finished does not change', async t => {
  const { jobId, leaseToken } = await begin()
  await sql(
    `UPDATE JobExecutionLog SET status = 'Succeeded', resultUrl = 'https://example.org/theirs' WHERE jobId = '${jobId}'`
  )
  for (const command of ['progress', 'complete']) {
    t.match(await (await report(jobId, command, leaseToken)).json(), { code: 'LEASE_LOST' }, command)
  }
  t.match(await (await report(jobId, 'fail', leaseToken, { error: { code: 'E', message: 'm' } })).json(), {
    code: 'LEASE_LOST'
  })
  t.match(await askJson(`/api/v1/jobs/${jobId}`), { status: 'Succeeded', resultUrl: 'https://example.org/theirs' })
})

t.test('the log has no error after all tests', async t => {
  t.same(service.logs.filter(line => line.level >= 50), [])
})
