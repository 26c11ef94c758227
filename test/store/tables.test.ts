import t from 'tap'
import { sqlite3 } from '../helpers/databases.ts'
import { jobOf, runningJob } from './jobs.ts'
import { createRowReader } from '../../src/job/recorded/values.ts'
import { insertJob } from '../../src/store/tx/jobs.ts'
import { openForeign, openStore } from './open.ts'

const unspecified = (message: string, detailsJson?: string) =>
  ({ code: 'UNSPECIFIED', message, ...(detailsJson === undefined ? {} : { detailsJson }) })
const noDetails = 'The job failed; no details were recorded.'

t.test('shows any failure that another program recorded', async t => {
  const { store, path } = await openStore(t)
  const foreign = openForeign(t, path)
  foreign.exec("INSERT INTO JobExecutionLog (jobId, status) VALUES ('j', 'Failed')")
  const record = foreign.prepare('UPDATE JobExecutionLog SET errorDetails = ?')
  const cases: Array<[string | null, unknown]> = [
    [null, unspecified(noDetails)],
    ['', unspecified(noDetails)],
    ['disk full', unspecified('disk full')],
    ['{"code": "E_DISK", "message": "disk', unspecified('{"code": "E_DISK", "message": "disk')],
    ['"disk full"', unspecified('disk full')],
    ['null', unspecified('null')],
    ['17', unspecified('17')],
    ['{"code":"E_DISK","message":"disk full"}', { code: 'E_DISK', message: 'disk full' }],
    ['{"code":"E_DISK","message":"","details":null,"at":5}', { code: 'E_DISK', message: '', detailsJson: 'null' }],
    ['{"code":"E_DISK","message":"m","details":[1]}', { code: 'E_DISK', message: 'm', detailsJson: '[1]' }],
    [
      ' {"details": [1970670598291982290, 1.50,-1e999] , "code":"E_DISK","message":"m"}\n',
      { code: 'E_DISK', message: 'm', detailsJson: '[1970670598291982290, 1.50,-1e999]' }
    ],
    ['{"code":"","message":"m"}', unspecified('m', '{"code":"","message":"m"}')],
    ['{"message":"m"}', unspecified('m', '{"message":"m"}')],
    ['{"code":5}', unspecified(noDetails, '{"code":5}')],
    [' [1,2.00]\n', unspecified(noDetails, '[1,2.00]')]
  ]
  for (const [errorDetails, failure] of cases) {
    record.run(errorDetails)
    const job = jobOf(await store.jobs.find('j'))
    t.strictSame('failure' in job && job.failure, failure, errorDetails ?? 'NULL')
  }
})

t.test('cuts the texts of another program at their bounds, and shows what is shorter whole', async t => {
  const { store, path } = await openStore(t)
  const foreign = openForeign(t, path)
  foreign.exec("INSERT INTO JobExecutionLog (jobId, status) VALUES ('j', 'Failed')")
  const record = foreign.prepare('UPDATE JobExecutionLog SET errorDetails = ?')
  const cut = (text: string) => `${text.slice(0, 16 * 1024 - 1)}…`
  const truncated = '{"truncated":true}'
  const [message, longer] = ['m'.repeat(16 * 1024), 'm'.repeat(16 * 1024 + 1)]
  const [details, larger] = ['d'.repeat(16 * 1024 - 2), 'd'.repeat(16 * 1024 - 1)]
  const huge = '"ü\\\n'.repeat(100_000)
  const json = (value: unknown) => JSON.stringify(value)
  const cases: Array<[string, unknown]> = [
    [message, unspecified(message)],
    [longer, unspecified(cut(longer))],
    [json({ code: 'E', message: longer }), { code: 'E', message: cut(longer) }],
    [json({ code: 'E', message, details }), { code: 'E', message, detailsJson: json(details) }],
    [json({ code: 'E', message: 'm', details: larger }), { code: 'E', message: 'm', detailsJson: truncated }],
    [json({ code: 'E'.repeat(257), message: 'm' }), { code: `${'E'.repeat(255)}…`, message: 'm' }],
    [json([larger]), unspecified(noDetails, truncated)],
    // What is not even read whole.
    [huge, unspecified(cut(huge))],
    [json(huge), unspecified(cut(huge))],
    [json({ code: 'E', message: huge }), { code: 'E', message: cut(huge) }],
    [json({ details: ['code', { code: 'X' }], message: 'm', code: 'E', more: huge }), {
      code: 'E', message: 'm', detailsJson: truncated
    }],
    [json({ code: 'E', message: 'm', details: huge }), { code: 'E', message: 'm', detailsJson: truncated }],
    [json({ code: 'E', details: [huge], message: 'm' }), {
      code: 'E', message: /^The message is not shown/, detailsJson: truncated
    }],
    [json({ code: 'E', message: '\u0001'.repeat(20_000) }), { code: 'E', message: new RegExp(`^${'\u0001'}{9000,11000}…$`) }],
    [json({ message: huge, code: 'E' }), unspecified(cut(huge), truncated)],
    [`{${huge}`, unspecified(cut(`{${huge}`))],
    ['x'.repeat(4 * 1024 * 1024 + 1), unspecified('The failure text is not shown. Its size in bytes: 4194305')]
  ]
  for (const [errorDetails, failure] of cases) {
    record.run(errorDetails)
    const job = jobOf(await store.jobs.find('j'))
    t.match('failure' in job && job.failure, failure, errorDetails.slice(0, 40))
  }
})

t.test('bounds every other text too: a tenant that is cut belongs to no token, and a URL that is too long is none', async t => {
  const { store, path } = await openStore(t)
  const foreign = openForeign(t, path)
  const long = 'ü'.repeat(1_000_000)
  const tenant = 'ü'.repeat(32 * 1024)
  foreign.prepare(`INSERT INTO JobExecutionLog
    (jobId, status, type, tenant, startTime, endTime, createdAt, resultUrl, progressStage, progressMessage, submittedBy)
    VALUES ('j', 'Succeeded', $long, $long, $long, $long, $long, $long, $long, $long, $long)`).run({ long })
  const shortened = (lengthMax: number) => `${long.slice(0, lengthMax - 1)}…`
  const job = jobOf(await store.jobs.find('j'))
  t.equal(job.tenant, `${tenant}ü`)
  t.match(job, {
    type: shortened(256),
    progress: { stage: shortened(256), message: shortened(4096) },
    resultUrl: null,
    startedAt: null,
    finishedAt: null
  })
  t.ok(JSON.stringify(job).length < 100_000)
  foreign.exec("DELETE FROM JobExecutionLog WHERE jobId = 'j'")
  const gone = await store.jobs.find('j')
  t.equal(gone.kind === 'tombstone' && gone.tombstone.tenant, `${tenant}ü`)
  const resultUrl = `https://example.org/${'x'.repeat(8192 - 20)}`
  foreign.prepare("INSERT INTO JobExecutionLog (jobId, status, tenant, resultUrl) VALUES ('whole', 'Succeeded', ?, ?)")
    .run(tenant, resultUrl)
  t.match(await store.jobs.find('whole'), { job: { tenant, resultUrl } })
})

t.test('reads times in any notation; what is none is null, and named', async t => {
  const { store, path } = await openStore(t)
  const at = Date.UTC(2026, 0, 31, 12)
  await sqlite3(
    path,
    "INSERT INTO JobExecutionLog (jobId, status, createdAt, startTime, endTime) VALUES ('j', 'Succeeded', '2026-01-31 12:00:00', '2026-01-31T13:00:00+01:00', 1769860800)"
  )
  const read = await store.jobs.find('j')
  t.match(read, { job: { createdAt: at, startedAt: at, finishedAt: at } })
  t.notOk('unread' in read)
  for (const text of ['soon', '+010000-01-01T00:00:00Z', '-000001-12-31T23:59:59.999Z']) {
    await sqlite3(path, `UPDATE JobExecutionLog SET endTime = '${text}', createdAt = '${text}'`)
    t.match(await store.jobs.find('j'), {
      job: { createdAt: at, startedAt: at, finishedAt: null },
      unread: [{ column: 'createdAt', type: 'text' }, { column: 'endTime', type: 'text' }]
    }, text)
  }
  await sqlite3(path, "UPDATE JobExecutionLog SET startTime = 'never'")
  t.match(await store.jobs.find('j'), { job: { createdAt: at, startedAt: null } }, 'the last creation that was known')
})

// With a pattern that backtracks, this test does not end.
t.test('a long text in place of a number is null', async t => {
  const { number } = createRowReader({ long: `${'1'.repeat(1_000_000)}x`, text: '-1.5e3', whole: '7.' })
  t.same([number('long'), number('text'), number('whole')], [null, -1500, 7])
})

t.test('an empty text is null in every optional column', async t => {
  const { store, path } = await openStore(t)
  const foreign = openForeign(t, path)
  const before = Date.now()
  const texts = [
    'type', 'startTime', 'endTime', 'resultUrl', 'errorDetails', 'tenant', 'createdAt', 'submittedBy', 'progressStage',
    'progressMessage', 'cancelRequestedAt', 'expiresAt', 'resultExpiredAt'
  ]
  const empty = (status: string) => foreign.exec(`INSERT INTO JobExecutionLog (jobId, status, ${texts.join()})
    VALUES ('${status}', '${status}', ${texts.map(() => "''").join()})`)
  empty('Queued')
  empty('Running')
  empty('Succeeded')
  empty('Failed')
  const common = {
    type: null, startedAt: null, tenant: null, submittedBy: null, progress: { stage: null, message: null }
  }
  t.match(await store.jobs.find('Queued'), { job: common })
  t.match(await store.jobs.find('Running'), { job: { ...common, cancelRequestedAt: null } })
  t.match(await store.jobs.find('Succeeded'), {
    job: { ...common, finishedAt: null, resultUrl: null, expiresAt: null, resultExpiredAt: null }
  })
  const failed = await store.jobs.find('Failed')
  t.match(failed, { job: { ...common, state: 'failed', finishedAt: null, failure: { code: 'UNSPECIFIED' } } })
  t.notOk('unread' in failed, 'nothing to be logged')
  const { createdAt } = jobOf(failed)
  t.ok(createdAt >= before && createdAt <= Date.now(), 'created when it was inserted')
  foreign.exec("UPDATE JobExecutionLog SET cancelledAt = '2026-01-31' WHERE jobId = 'Failed'")
  t.match(await store.jobs.find('Failed'), { job: { state: 'cancelled', failure: { code: 'JOB_CANCELLED' } } })
  foreign.exec('DELETE FROM JobExecutionLog')
  t.match(await store.jobs.find('Failed'), { kind: 'tombstone', tombstone: { tenant: null } })
})

t.test('shows a succeeded job at 100 percent, whatever was recorded', async t => {
  const { store, path } = await openStore(t)
  await sqlite3(
    path, "INSERT INTO JobExecutionLog (jobId, status, progressPercent, etaSeconds) VALUES ('j', 'Succeeded', 12.5, 9)"
  )
  t.match(await store.jobs.find('j'), {
    job: { progress: { percent: 100, etaSeconds: null }, resultUrl: null, result: null }
  })
})

t.test('a change of any column that readers see draws a version, once', async t => {
  const { store, path, transact, database } = await openStore(t)
  const foreign = openForeign(t, path)
  await transact(tx => insertJob(tx, runningJob('j')))
  const columns = database.reader.prepare<[], { name: string }>('PRAGMA table_info(JobExecutionLog)').all().map(
    ({ name }) => name
  )
  const values: Record<string, string | number> = {
    status: 'Failed', createdAt: '2020-01-01T00:00:00Z', progressPercent: 41, attempt: 2, hasPartialResult: 1
  }
  let { version } = jobOf(await store.jobs.find('j'))
  for (const column of columns.filter(name => !['jobId', 'version', 'seq', 'createdMs', 'endedMs'].includes(name))) {
    const statement = foreign.prepare(`UPDATE JobExecutionLog SET ${column} = ?`)
    const value = values[column] ?? 7
    statement.run(value)
    t.equal(jobOf(await store.jobs.find('j')).version, version + 1, column)
    statement.run(value)
    t.equal(jobOf(await store.jobs.find('j')).version, version + 1, `${column}, the same again`)
    version += 1
  }
  t.ok(columns.length >= 23)
})

t.test('shows a failed job with a cancellation time as cancelled', async t => {
  const { store, path } = await openStore(t)
  const at = Date.UTC(2026, 0, 31, 12)
  await sqlite3(
    path, "INSERT INTO JobExecutionLog (jobId, status, cancelledAt) VALUES ('j', 'Failed', '2026-01-31 12:00:00')"
  )
  t.match(await store.jobs.find('j'), {
    job: { state: 'cancelled', cancelledAt: at, finishedAt: at, failure: { code: 'JOB_CANCELLED' } }
  })
  await sqlite3(
    path,
    "UPDATE JobExecutionLog SET endTime = '2026-01-31T12:00:01Z', errorDetails = '{\"code\":\"E_STOP\",\"message\":\"by hand\"}'"
  )
  t.match(await store.jobs.find('j'), {
    job: { state: 'cancelled', finishedAt: at + 1000, failure: { code: 'E_STOP', message: 'by hand' } }
  })
  await sqlite3(path, "UPDATE JobExecutionLog SET cancelledAt = 'soon'")
  t.match(await store.jobs.find('j'), {
    job: {
      state: 'failed', failure: { code: 'E_STOP' }
    }
  }, 'what is no time is as good as none')
})

t.test('shows no field of one state in another state', async t => {
  const { store, path } = await openStore(t)
  const set =
    "cancelRequestedAt = '2026-01-31T12:00:00Z', expiresAt = '2026-02-01T12:00:00Z', resultExpiredAt = '2026-02-01T12:00:01Z', hasPartialResult = 1"
  const at = Date.UTC(2026, 0, 31, 12)
  await sqlite3(
    path,
    `INSERT INTO JobExecutionLog (jobId, status) VALUES ('q', 'Queued'), ('r', 'Running'), ('s', 'Succeeded'); UPDATE JobExecutionLog SET ${set}`
  )
  t.same(Object.keys(jobOf(await store.jobs.find('q'))).filter(name => /cancel|xpire|partial/i.test(name)), [])
  t.match(await store.jobs.find('r'), { job: { cancelRequestedAt: at, hasPartialResult: true } })
  t.match(await store.jobs.find('s'), { job: { expiresAt: at + 86_400_000, resultExpiredAt: at + 86_401_000 } })
})
