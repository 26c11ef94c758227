import { join } from 'node:path'
import t from 'tap'
import { type Json, createWorkerClient, jsonOf } from '../../helpers/client.ts'
import { startService } from '../../helpers/service.ts'
import { until } from '../../helpers/until.ts'
import { cacheReads, forceRow, insertRows, storeReads } from '../rows.ts'

const service = await startService(t, { WORKERS: '0' })
const scenarioService = await startService(
  t, { WORKERS: '0', PRUNE_INTERVAL_SECONDS: '1' }, join(t.testdirName, 'scenarios.db')
)
const { ask, askJson } = service
const v1 = (jobId: string) => askJson(`/api/v1/jobs/${jobId}`)

t.test('AC-001: a running job is 200 Running, without resultUrl and errorDetails', async t => {
  await insertRows(service, {
    jobId: 'job-123',
    status: 'Running',
    startTime: '2026-01-02 03:04:05',
    resultUrl: 'https://example.org/early',
    errorDetails: '{"code":"A","message":"b"}'
  })
  const answer = await ask('/api/v1/jobs/job-123')
  t.equal(answer.status, 200)
  t.match(answer.headers.get('content-type'), /^application\/json/)
  t.same(await answer.json(), {
    jobId: 'job-123',
    status: 'Running',
    startTime: '2026-01-02T03:04:05.000Z',
    endTime: null,
    resultUrl: null,
    errorDetails: null
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
    detail: 'No job with this id is visible to this token.',
    instance: '/api/v1/jobs/non-existent-job',
    code: 'JOB_NOT_FOUND'
  })
})

t.test('the body has exactly six fields in every state', async t => {
  await insertRows(
    service, ...['Queued', 'Running', 'Succeeded', 'Failed'].map(status => ({ jobId: `six-${status}`, status }))
  )
  for (const status of ['Queued', 'Running', 'Succeeded', 'Failed']) {
    const job = await v1(`six-${status}`)
    t.same(Object.keys(job), ['jobId', 'status', 'startTime', 'endTime', 'resultUrl', 'errorDetails'], status)
    t.equal(job.status, status)
  }
})

t.test('startTime is never null: it defaults to the acceptance time', async t => {
  const before = new Date().toISOString()
  await insertRows(service,
    { jobId: 'start-1', status: 'Queued', createdAt: '2026-01-02T03:04:05+02:00' },
    { jobId: 'start-2', status: 'Running', startTime: 'soon', createdAt: '2026-01-02T03:04:05Z' },
    { jobId: 'start-3', status: 'Succeeded', createdAt: null },
    { jobId: 'start-4', status: 'Running', createdAt: 'never', startTime: 'never' })
  t.equal((await v1('start-1')).startTime, '2026-01-02T01:04:05.000Z')
  t.equal((await v1('start-2')).startTime, '2026-01-02T03:04:05.000Z')
  t.match(
    (await v1('start-3')).startTime, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/,
    'the database sets the time of the insert'
  )
  const { startTime } = await v1('start-4')
  t.ok(startTime >= before && startTime <= new Date().toISOString(), 'and counts without any readable time')
})

t.test('converts every notation of a time to one', async t => {
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

t.test('logs what it does not understand once for each column and type, without the value', async t => {
  await insertRows(service,
    { jobId: 'unread-1', status: 'Running', startTime: 'secret-1' },
    { jobId: 'unread-2', status: 'Running', startTime: 'secret-2' })
  for (const jobId of ['unread-1', 'unread-2']) await v1(jobId)
  const lines = service.logs.filter(({ msg }) => msg === 'startTime of a record is not understood and counts as null')
  t.equal(lines.length, 1)
  t.match(lines[0], { level: 40, column: 'startTime', type: 'text' })
  t.notMatch(JSON.stringify(service.logs), /secret-/)
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
  await insertRows(
    service, ...shapes.map(([errorDetails], at) => ({ jobId: `error-${at}`, status: 'Failed', errorDetails }))
  )
  for (const [at, [text, expected]] of shapes.entries()) {
    t.same((await v1(`error-${at}`)).errorDetails, expected, String(text))
    t.same((await askJson(`/api/jobs/error-${at}/status`)).data.failure, expected, 'the same in the task view')
  }
})

t.test('very long and very deep errorDetails do not stop the service', async t => {
  await insertRows(service,
    { jobId: 'long', status: 'Failed', errorDetails: 'x'.repeat(50_000) },
    { jobId: 'deep', status: 'Failed', errorDetails: `${'['.repeat(20_000)}${']'.repeat(20_000)}` })
  t.equal((await v1('long')).errorDetails.message, `${'x'.repeat(16 * 1024 - 1)}…`)
  t.ok([200, 500].includes((await ask('/api/v1/jobs/deep')).status))
  t.equal((await ask('/api/v1/jobs/long')).status, 200)
})

t.test('BR-001: the database rejects a fifth status', async t => {
  await t.rejects(insertRows(service, { jobId: 'fifth', status: 'Paused' }), /check constraint/i)
})

t.test('BR-001: a row with a fifth status is 500 in both views, does not show the value, and is logged as an error', async t => {
  await forceRow(service, { jobId: 'paused', status: 'Paused', tenant: 'tester' })
  const before = { cache: await cacheReads(service), store: await storeReads(service) }
  for (const path of [
    '/api/v1/jobs/paused', '/api/jobs/paused/status', '/api/v1/jobs/paused', '/api/jobs/paused/result'
  ]) {
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

t.test('BR-001: a record that breaks the schema of a view is not sent', async t => {
  await forceRow(service, { jobId: 'over', status: 'Running', progressPercent: 150.5 })
  const answer = await ask('/api/jobs/over/status')
  t.equal(answer.status, 500)
  t.notMatch(await answer.text(), /150/)
  const error = service.logs.find(line => line.level >= 50 && line.jobId === 'over' && /BR-001/.test(line.msg))
  t.match(error?.err?.message, /percent maximum/, 'the log names field and rule')
  t.notMatch(error?.err?.message, /150/)
})

/*
 * Every row of the table of job states in the documentation: each is produced through the API, then read in the record
 * and in both views.
 */

const worker = createWorkerClient(scenarioService)

const submitted = (type: string, more: object = {}) =>
  jsonOf(scenarioService.ask('/api/v1/jobs', { method: 'POST', body: { type, input: null, ...more } })).then(
    ({ jobId }: Json) => jobId as string
  )

const begun = async (type: string, more: object = {}) => {
  await submitted(type, more)
  return await worker.claimed(type)
}

const succeeded = async (type: string, more: object = {}) => {
  const { jobId, leaseToken } = await begun(type, more)
  await worker.report(jobId, 'complete', leaseToken, { result: { rows: 3 } })
  return jobId
}

const cancelled = async (jobId: string) => {
  await scenarioService.ask(`/api/jobs/${jobId}/cancel`, { method: 'POST' })
  return jobId
}

const failed = async (type: string, retryable: boolean) => {
  const { jobId, leaseToken } = await begun(type)
  await worker.report(jobId, 'fail', leaseToken, { error: { code: 'E', message: 'm' }, retryable })
  return jobId
}

const answers = (jobId: string, claims = {}) => Promise.all([
  scenarioService.ask(`/api/v1/jobs/${jobId}`, { claims }),
  scenarioService.ask(`/api/jobs/${jobId}/status`, { claims })
])
const answered = (jobId: string, status: number) => until(
  async () => (await answers(jobId)).every(answer => answer.status === status), `${status} for ${jobId}`
)

const time = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/
const jobCancelled = { code: 'JOB_CANCELLED', message: 'The job was cancelled.' }
const noResult = { result: null, resultUrl: null, resultAvailable: false, expiresAt: null, expiredAt: null }
const live = { ...noResult, isTerminal: false, isSuccess: false, finishedAt: null, failure: null, pollAfterMs: 1000 }
const ended = { isTerminal: true, finishedAt: time, partialResultAvailable: false, pollAfterMs: null }
const success = { ...ended, status: 'succeeded', isSuccess: true, failure: null, cancelRequested: false }
const failure = { ...ended, ...noResult, isSuccess: false }

type Scenario = {
  what: string
  make: () => Promise<string>
  /** The record: its status, and whether cancelRequestedAt, cancelledAt and resultExpiredAt are set. */
  record: string
  v1: object
  task: object
  links: string[]
}

const scenarios: Scenario[] = [
  {
    what: 'accepted, not started',
    make: () => submitted('waiting'),
    record: 'Queued|0|0|0',
    v1: { status: 'Queued', startTime: time, endTime: null, resultUrl: null, errorDetails: null },
    task: {
      ...live, status: 'queued', attempt: 0, cancelRequested: false, startedAt: null, partialResultAvailable: false
    },
    links: ['status', 'result', 'cancel', 'events']
  },
  {
    what: 'queued again for a retry',
    make: () => failed('again', true),
    record: 'Queued|0|0|0',
    v1: { status: 'Queued', startTime: time, endTime: null, resultUrl: null, errorDetails: null },
    task: {
      ...live, status: 'queued', attempt: 1, cancelRequested: false, startedAt: time, partialResultAvailable: false
    },
    links: ['status', 'result', 'cancel', 'events']
  },
  {
    what: 'a worker runs it',
    make: async () => (await begun('running')).jobId,
    record: 'Running|0|0|0',
    v1: { status: 'Running', startTime: time, endTime: null, resultUrl: null, errorDetails: null },
    task: {
      ...live, status: 'running', attempt: 1, cancelRequested: false, startedAt: time, partialResultAvailable: false
    },
    links: ['status', 'result', 'cancel', 'events']
  },
  {
    what: 'running, with bytes of its result uploaded',
    make: async () => {
      const { jobId, leaseToken } = await begun('uploading')
      await worker.upload(jobId, leaseToken, 0, 'half')
      return jobId
    },
    record: 'Running|0|0|0',
    v1: { status: 'Running', resultUrl: null, errorDetails: null },
    task: { ...live, status: 'running', cancelRequested: false, partialResultAvailable: true },
    links: ['status', 'result', 'cancel', 'events']
  },
  {
    what: 'running, cancellation requested',
    make: async () => await cancelled((await begun('stopping')).jobId),
    record: 'Running|1|0|0',
    v1: { status: 'Running', endTime: null, resultUrl: null, errorDetails: null },
    task: { ...live, status: 'running', cancelRequested: true },
    links: ['status', 'result', 'cancel', 'events']
  },
  {
    what: 'succeeded',
    make: () => succeeded('good'),
    record: 'Succeeded|0|0|0',
    v1: {
      status: 'Succeeded',
      startTime: time,
      endTime: time,
      resultUrl: /^\/api\/v1\/jobs\/.*\/result$/,
      errorDetails: null
    },
    task: {
      ...success,
      resultAvailable: true,
      resultUrl: /^\/api\/jobs\/.*\/result$/,
      result: { rows: 3 },
      expiresAt: time,
      expiredAt: null
    },
    links: ['status', 'result']
  },
  {
    what: 'succeeded without a result',
    make: async () => {
      const { jobId, leaseToken } = await begun('resultless')
      await worker.report(jobId, 'complete', leaseToken, {})
      return jobId
    },
    record: 'Succeeded|0|0|0',
    v1: { status: 'Succeeded', endTime: time, resultUrl: null, errorDetails: null },
    task: { ...success, resultAvailable: false, resultUrl: null, result: null, expiresAt: null, expiredAt: null },
    links: ['status']
  },
  {
    what: 'failed',
    make: () => failed('bad', false),
    record: 'Failed|0|0|0',
    v1: { status: 'Failed', endTime: time, resultUrl: null, errorDetails: { code: 'E', message: 'm' } },
    task: { ...failure, status: 'failed', cancelRequested: false, failure: { code: 'E', message: 'm' } },
    links: ['status']
  },
  {
    what: 'cancelled',
    make: async () => await cancelled(await submitted('unwanted')),
    record: 'Failed|0|1|0',
    v1: { status: 'Failed', endTime: time, resultUrl: null, errorDetails: jobCancelled },
    task: { ...failure, status: 'cancelled', cancelRequested: true, failure: jobCancelled },
    links: ['status']
  },
  {
    what: 'its result has expired',
    make: async () => {
      const jobId = await succeeded('brief', { retentionSeconds: 1 })
      await until(async () => (await scenarioService.askJson(
        `/api/jobs/${jobId}/status`
      )).data.expiredAt !== null, 'the removal of its result')
      return jobId
    },
    record: 'Succeeded|0|0|1',
    v1: { status: 'Succeeded', endTime: time, resultUrl: /result$/, errorDetails: null },
    task: { ...success, resultAvailable: false, result: null, expiresAt: time, expiredAt: time },
    links: ['status']
  }
]

for (const { what, make, record, v1, task, links } of scenarios) {
  t.test(`both views of a job: ${what}`, async t => {
    const jobId = await make()
    t.equal(await scenarioService.sql(`SELECT status, cancelRequestedAt IS NOT NULL, cancelledAt IS NOT NULL, resultExpiredAt IS NOT NULL
      FROM JobExecutionLog WHERE jobId = '${jobId}'`), record)
    const [one, other] = await answers(jobId)
    t.match(await one.json(), v1)
    const { data }: Json = await other.json()
    t.match(data, task)
    for (const { headers } of [one, other]) {
      t.equal(headers.get('job-state'), data.status)
      t.equal(headers.has('retry-after'), !data.isTerminal)
      t.same([...(headers.get('link') ?? '').matchAll(/rel="(\w+)"/g)].map(([, rel]) => rel), links)
    }
    t.equal(one.headers.get('etag'), other.headers.get('etag'))
  })
}

t.test('both views of a job: its record has expired or was erased', async t => {
  const erased = await succeeded('erased')
  t.equal((await scenarioService.ask(`/api/v1/jobs/${erased}`, { method: 'DELETE' })).status, 204)
  const old = await succeeded('old')
  await scenarioService.sql(`UPDATE JobExecutionLog SET endTime = '2020-01-01T00:00:00.000Z' WHERE jobId = '${old}'`)
  for (const jobId of [erased, old]) {
    await answered(jobId, 410)
    const [one, other] = await answers(jobId)
    t.match(await one.json(), { status: 410, code: 'JOB_EXPIRED', expiredAt: time })
    t.match(await other.json(), { success: false, error: { code: 'JOB_EXPIRED', details: { expiredAt: time } } })
    t.equal(await scenarioService.sql(`SELECT tenant FROM JobTombstone WHERE jobId = '${jobId}'`), 'tester')
  }
})

t.test('both views of a job: it never existed, belongs to another tenant, or its tombstone was purged', async t => {
  const claims = { tenant: 'globex' }
  const purged = await succeeded('purged')
  await scenarioService.ask(`/api/v1/jobs/${purged}`, { method: 'DELETE' })
  await answered(purged, 410)
  for (const answer of await answers(purged, claims)) t.equal(answer.status, 404, "another tenant's tombstone")
  await scenarioService.sql(`UPDATE JobTombstone SET expiredAt = '2020-01-01T00:00:00.000Z' WHERE jobId = '${purged}'`)
  await answered(purged, 404)
  const foreign = await answers(await succeeded('theirs'), claims)
  for (const answer of [...await answers(purged), ...await answers('no-such-job'), ...foreign]) {
    t.equal(answer.status, 404)
    t.match(await answer.text(), /JOB_NOT_FOUND/)
  }
})
