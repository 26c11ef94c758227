import t from 'tap'
import { startService } from '../helpers/service.ts'
import { cacheReads, forceRow, insertRows, storeReads } from './rows.ts'

const service = await startService(t, { WORKERS: '0' })
const { ask, askJson } = service
const v1 = (jobId: string) => askJson(`/api/v1/jobs/${jobId}`)

t.test('AC-001: a running job is 200 Running, without resultUrl and errorDetails', async t => {
  await insertRows(service, {
    jobId: 'job-123', status: 'Running', startTime: '2026-01-02 03:04:05', resultUrl: 'https://example.org/early', errorDetails: '{"code":"A","message":"b"}'
  })
  const answer = await ask('/api/v1/jobs/job-123')
  t.equal(answer.status, 200)
  t.match(answer.headers.get('content-type'), /^application\/json/)
  t.same(await answer.json(), {
    jobId: 'job-123', status: 'Running', startTime: '2026-01-02T03:04:05.000Z', endTime: null, resultUrl: null, errorDetails: null
  })
})

t.test('AC-002: a succeeded job is 200 Succeeded, with its resultUrl and without errorDetails', async t => {
  await insertRows(service, {
    jobId: 'job-124',
    status: 'Succeeded',
    startTime: '2026-01-02T03:04:05Z',
    endTime: '2026-01-02T03:05:05Z',
    resultUrl: 'https://files.example.org/a.csv?sig=1&x=%20',
    errorDetails: 'left over'
  })
  const answer = await ask('/api/v1/jobs/job-124')
  t.equal(answer.status, 200)
  t.same(await answer.json(), {
    jobId: 'job-124',
    status: 'Succeeded',
    startTime: '2026-01-02T03:04:05.000Z',
    endTime: '2026-01-02T03:05:05.000Z',
    resultUrl: 'https://files.example.org/a.csv?sig=1&x=%20',
    errorDetails: null
  })
})

t.test('AC-003: a failed job is 200 Failed, with structured errorDetails and without resultUrl', async t => {
  await insertRows(service, {
    jobId: 'job-125',
    status: 'Failed',
    startTime: '2026-01-02T03:04:05Z',
    endTime: '2026-01-02T03:05:05Z',
    resultUrl: 'https://example.org/partial',
    errorDetails: '{"code":"TIMEOUT","message":"It took too long.","details":{"step":3}}'
  })
  const answer = await ask('/api/v1/jobs/job-125')
  t.equal(answer.status, 200)
  t.same(await answer.json(), {
    jobId: 'job-125',
    status: 'Failed',
    startTime: '2026-01-02T03:04:05.000Z',
    endTime: '2026-01-02T03:05:05.000Z',
    resultUrl: null,
    errorDetails: { code: 'TIMEOUT', message: 'It took too long.', details: { step: 3 } }
  })
})

t.test('AC-004: a job that does not exist is exactly 404', async t => {
  const answer = await ask('/api/v1/jobs/non-existent-job')
  t.equal(answer.status, 404)
  t.same(await answer.json(), {
    type: 'about:blank',
    title: 'No such job',
    status: 404,
    detail: 'No job with this id is known to you.',
    instance: '/api/v1/jobs/non-existent-job',
    code: 'JOB_NOT_FOUND'
  })
})

t.test('the body has exactly six fields in every state', async t => {
  await insertRows(service, ...['Queued', 'Running', 'Succeeded', 'Failed'].map(status => ({ jobId: `six-${status}`, status })))
  for (const status of ['Queued', 'Running', 'Succeeded', 'Failed']) {
    const job = await v1(`six-${status}`)
    t.same(Object.keys(job), ['jobId', 'status', 'startTime', 'endTime', 'resultUrl', 'errorDetails'], status)
    t.equal(job.status, status)
  }
})

t.test('startTime is never null: the acceptance time stands in for it', async t => {
  await insertRows(service,
    { jobId: 'start-1', status: 'Queued', createdAt: '2026-01-02T03:04:05+02:00' },
    { jobId: 'start-2', status: 'Running', startTime: 'soon', createdAt: '2026-01-02T03:04:05Z' },
    { jobId: 'start-3', status: 'Succeeded', createdAt: null },
    { jobId: 'start-4', status: 'Running', createdAt: 'never', startTime: 'never' })
  t.equal((await v1('start-1')).startTime, '2026-01-02T01:04:05.000Z')
  t.equal((await v1('start-2')).startTime, '2026-01-02T03:04:05.000Z')
  t.match((await v1('start-3')).startTime, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/, 'the database notes the time of the insert')
  t.equal((await v1('start-4')).startTime, '1970-01-01T00:00:00.000Z', 'where nothing is known it is still a time')
})

t.test('times in any ISO 8601 form are answered in one', async t => {
  const forms = [
    ['2026-01-02T03:04:05Z', '2026-01-02T03:04:05.000Z'],
    ['2026-01-02 03:04:05', '2026-01-02T03:04:05.000Z'],
    ['2026-01-02t03:04:05.123456z', '2026-01-02T03:04:05.123Z'],
    ['2026-01-02T03:04:05,5+05:30', '2026-01-01T21:34:05.500Z'],
    ['20260102T030405Z', '2026-01-02T03:04:05.000Z'],
    ['2026-W01-5', '2026-01-02T00:00:00.000Z'],
    ['2026-01-02', '2026-01-02T00:00:00.000Z'],
    ['not a time', null],
    ['2026-02-30T00:00:00Z', null],
    ['+012026-01-01T00:00:00Z', null],
    ['', null]
  ] as const
  await insertRows(service, ...forms.map(([endTime], at) => ({ jobId: `time-${at}`, status: 'Succeeded', endTime })))
  for (const [at, [form, expected]] of forms.entries()) t.equal((await v1(`time-${at}`)).endTime, expected, form)
})

t.test('errorDetails of any shape become code, message and details', async t => {
  const none = { code: 'UNSPECIFIED', message: 'The job failed; no details were recorded.' }
  const shapes: Array<[string | null, object]> = [
    ['{"code":"A","message":"b"}', { code: 'A', message: 'b' }],
    ['{"code":"A","message":"b","details":[1,null]}', { code: 'A', message: 'b', details: [1, null] }],
    ['{"code":"A","message":"b","stack":"x"}', { code: 'A', message: 'b' }],
    ['disk full', { code: 'UNSPECIFIED', message: 'disk full' }],
    ['"disk full"', { code: 'UNSPECIFIED', message: 'disk full' }],
    ['{"code": "A", ', { code: 'UNSPECIFIED', message: '{"code": "A", ' }],
    ['["a","b"]', { ...none, details: ['a', 'b'] }],
    ['{"message":"b","at":7}', { code: 'UNSPECIFIED', message: 'b', details: { message: 'b', at: 7 } }],
    ['{"code":7,"message":"b"}', { code: 'UNSPECIFIED', message: 'b', details: { code: 7, message: 'b' } }],
    ['{"code":"","message":"b"}', { code: 'UNSPECIFIED', message: 'b', details: { code: '', message: 'b' } }],
    ['42', { code: 'UNSPECIFIED', message: '42' }],
    ['', none],
    [null, none]
  ]
  await insertRows(service, ...shapes.map(([errorDetails], at) => ({ jobId: `error-${at}`, status: 'Failed', errorDetails })))
  for (const [at, [text, expected]] of shapes.entries()) {
    t.same((await v1(`error-${at}`)).errorDetails, expected, String(text))
    t.same((await askJson(`/api/jobs/error-${at}/status`)).data.failure, expected, 'the same in the task view')
  }
})

t.test('very long and very deep errorDetails are answered or refused, and nothing dies of them', async t => {
  await insertRows(service,
    { jobId: 'long', status: 'Failed', errorDetails: 'x'.repeat(50_000) },
    { jobId: 'deep', status: 'Failed', errorDetails: `${'['.repeat(20_000)}${']'.repeat(20_000)}` })
  t.equal((await v1('long')).errorDetails.message.length, 50_000)
  t.ok([200, 500].includes((await ask('/api/v1/jobs/deep')).status))
  t.equal((await ask('/api/v1/jobs/long')).status, 200)
})

t.test('BR-001: the database refuses a fifth status', async t => {
  await t.rejects(insertRows(service, { jobId: 'fifth', status: 'Paused' }), /CHECK constraint failed/)
})

t.test('BR-001: a row with a fifth status is 500 in both views, says nothing of the value, and is logged as an error', async t => {
  await forceRow(service, { jobId: 'paused', status: 'Paused', tenant: 'tester' })
  const before = { cache: await cacheReads(service), store: await storeReads(service) }
  for (const path of ['/api/v1/jobs/paused', '/api/jobs/paused/status', '/api/v1/jobs/paused', '/api/jobs/paused/result']) {
    const answer = await ask(path)
    t.equal(answer.status, 500, path)
    const text = await answer.text()
    t.match(text, /"code":"INTERNAL"/)
    t.notMatch(text + JSON.stringify([...answer.headers]), /Paused/, 'the value is not shown')
  }
  t.ok(await storeReads(service) > before.store, 'answered from the store')
  t.ok(await cacheReads(service) > before.cache, 'and from the cache')
  const errors = service.logs.filter(line => line.level >= 50 && line.jobId === 'paused' && /BR-001/.test(line.msg))
  t.ok(errors.length > 0, 'logged as an error')
})

t.test('BR-001: a record that would break the schema of a view is not sent either', async t => {
  await forceRow(service, { jobId: 'over', status: 'Running', progressPercent: 150.5 })
  const answer = await ask('/api/jobs/over/status')
  t.equal(answer.status, 500)
  t.notMatch(await answer.text(), /150/)
  const error = service.logs.find(line => line.level >= 50 && line.jobId === 'over' && /BR-001/.test(line.msg))
  t.match(error?.err?.message, /percent maximum/, 'the log names field and rule')
  t.notMatch(error?.err?.message, /150/)
})
