import t, { type Test } from 'tap'
import type { Access, ProgressReport } from '../../../src/processors/processor.ts'
import { run as runReport } from '../../../src/processors/report/run.ts'
import { openReadOnlyStore } from '../../../src/store/sqlite/readers/read-only-store.ts'
import { openForeign, openStore } from '../../store/open.ts'

type Row = {
  type?: string | null,
  status?: string,
  start?: string | null,
  end?: string | null,
  created?: string | number | null,
  error?: string | null,
  tenant?: string | null
}

const operator: Access = { tenant: 'operator', allTenants: true }
const generatedAt = Date.UTC(2027, 1, 3, 4, 5, 6)

/** A database with these rows, written as another program would. */
const createJobs = async (t: Test, rows: Iterable<Row>): Promise<string> => {
  const { path } = await openStore(t)
  const foreign = openForeign(t, path)
  const insert = foreign.prepare(`INSERT INTO JobExecutionLog
    (jobId, type, status, startTime, endTime, createdAt, errorDetails, tenant) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`)
  let id = 0
  foreign.transaction(() => {
    for (const {
      type = 'x', status = 'Queued', start = null, end = null, created = '2026-01-01T00:00:00.000Z', error = null,
      tenant = 'a'
    } of rows) {
      insert.run(`job-${id++}`, type, status, start, end, created, error, tenant)
    }
  })()
  return path
}

/** Runs the processor on the database. */
const report = async (
  path: string, input: unknown, access: Access = operator, onProgress: (report: ProgressReport) => void = () => {}
) => {
  const store = openReadOnlyStore(path)
  try {
    const { body, ...output } = await runReport(input, {
      access,
      rawInput: null,
      records: filter => store.records(access, filter?.type),
      progress: onProgress,
      now: () => generatedAt
    })
    return { ...output, text: Buffer.concat(await Array.fromAsync(body as AsyncIterable<Uint8Array>)).toString() }
  } finally {
    await store.close()
  }
}
const figures = async (...args: Parameters<typeof report>) => JSON.parse((await report(...args)).text)

const failed = (code: string, rest: Row = {}): Row => ({
  status: 'Failed', error: JSON.stringify({ code, message: 'm' }), ...rest
})
const lasted = (ms: number, rest: Row = {}): Row =>
  ({
    status: 'Succeeded',
    start: '2026-01-01T00:00:00.000Z',
    end: new Date(Date.UTC(2026, 0, 1) +
    ms).toISOString(),
    ...rest
  })

t.test('counts jobs, durations and failures exactly', async t => {
  const path = await createJobs(t, [
    ...Array.from({ length: 100 }, (_, at) => lasted(at + 1, { type: 'sum' })),
    lasted(3_600_000, { type: 'late', created: '2026-01-02 06:00:00' }),
    failed('BAD', {
      type: 'late', start: '2026-01-01 00:00:00', end: '2026-01-01T02:00:00+02:00', created: '2025-12-31T23:30:00-01:00'
    }),
    failed('BAD', { start: '2026-01-01T00:00:01Z', end: '2026-01-01T00:00:00Z' }),
    failed('WORSE', { type: null, start: 'yesterday', end: 'today', created: 20260101 }),
    { status: 'Running', type: '', start: '2026-01-01T00:00:00Z' },
    { type: 'sum' }
  ])
  const none = { count: 0, min: null, p50: null, p95: null, p99: null, max: null }
  t.strictSame(await figures(path, {}), {
    report: 'job-execution',
    formatVersion: 1,
    generatedAt: '2027-02-03T04:05:06.000Z',
    filter: { from: null, to: null, type: null },
    period: { from: '2026-01-01T00:00:00.000Z', to: '2026-01-02T06:00:00.000Z' },
    total: 106,
    byStatus: { Queued: 1, Running: 1, Succeeded: 101, Failed: 3 },
    byType: [
      {
        type: 'sum',
        total: 101,
        byStatus: {
          Queued: 1, Running: 0, Succeeded: 100, Failed: 0
        },
        durationMs: { count: 100, min: 1, p50: 50, p95: 95, p99: 99, max: 100 }
      },
      { type: '(none)', total: 2, byStatus: { Queued: 0, Running: 1, Succeeded: 0, Failed: 1 }, durationMs: none },
      {
        type: 'late',
        total: 2,
        byStatus: {
          Queued: 0, Running: 0, Succeeded: 1, Failed: 1
        },
        durationMs: { count: 2, min: 0, p50: 0, p95: 3_600_000, p99: 3_600_000, max: 3_600_000 }
      },
      { type: 'x', total: 1, byStatus: { Queued: 0, Running: 0, Succeeded: 0, Failed: 1 }, durationMs: none }
    ],
    durationMs: { count: 102, min: 0, p50: 50, p95: 96, p99: 100, max: 3_600_000 },
    failures: [{ code: 'BAD', count: 2 }, { code: 'WORSE', count: 1 }]
  })
})

t.test('reports on no jobs', async t => {
  const path = await createJobs(t, [])
  t.match(await figures(path, {}), {
    total: 0, byType: [], failures: [], period: { from: null, to: null }, durationMs: { count: 0, p50: null }
  })
  t.match((await report(path, { format: 'html' })).text, 'No finished jobs.')
  t.match((await report(path, { format: 'csv' })).text, 'total,,,,jobs,0\n')
})

t.test('counts the rows of the submitter\'s tenant and those without a tenant', async t => {
  const path = await createJobs(t, [
    lasted(1), failed('A'), { tenant: null, type: 'free' }, failed('FOREIGN', {
      tenant: 'b', type: 'secret', created: '2030-01-01'
    }), lasted(9999, { tenant: 'b' }), { tenant: '' }
  ])
  const progress: ProgressReport[] = []
  const own = await figures(path, {}, { tenant: 'a', allTenants: false }, report => { progress.push(report) })
  t.match(own, {
    total: 4,
    failures: [{ code: 'A', count: 1 }],
    durationMs: {
      count: 1, max: 1
    },
    period: { to: '2026-01-01T00:00:00.000Z' }
  })
  t.notMatch(JSON.stringify([own, progress]), /secret|FOREIGN|9999/)
  t.ok(progress.every(({ total }) =>
    total === undefined || total === 4), 'the total in the progress leaves out other tenants too')
  t.match(await figures(path, {}, { tenant: 'other', allTenants: false }), { total: 2 })
  t.match(await figures(path, {}, { tenant: 'other', allTenants: true }), { total: 6 })
  t.match(await figures(path, { type: 'secret' }, { tenant: 'a', allTenants: false }), { total: 0 })
})

t.test('`from` is inclusive and `to` exclusive, in every notation of a time', async t => {
  const path = await createJobs(t, [
    '2026-01-31T23:59:59.999Z', '2026-02-01 00:00:00', '2026-02-01T01:00:00+01:00', '2026-02-28T23:59:59.999Z',
    '2026-03-01', '20260301T000000Z', 1772323200, 'Sun, 01 Mar 2026 01:00:00 +0100'
  ]
    .map(created => ({ created })))
  const total = async (input: unknown) => (await figures(path, input)).total
  t.equal(await total({}), 8)
  t.equal(await total({ from: '2026-02-01' }), 7)
  t.equal(await total({ to: '2026-02-01' }), 1)
  t.equal(await total({ from: '2026-02-01', to: '2026-03-01' }), 3)
  t.equal(await total({ from: '2026-02-01T00:00:00.001Z', to: '2026-03-01T00:00:00.001Z' }), 5)
  t.equal(await total({ from: '2026-02-01T02:00:00+02:00', to: '2026-02-01 00:00' }), 0)
  t.match(await figures(path, { from: '2026-02-01' }), { filter: { from: '2026-02-01T00:00:00.000Z', to: null } })
  await t.rejects(figures(path, { from: '2026-02-30' }), {
    name: 'ProcessorError', code: 'INVALID_INPUT', retryable: false, details: [{ field: 'from', rule: 'date' }]
  })
  await t.rejects(figures(path, { from: '2026-03-01', to: '2026-02-01' }), {
    code: 'INVALID_INPUT', details: [{ field: 'from', rule: 'order' }]
  })
})

t.test('a job whose creation cannot be read counts as created when its row was inserted', async t => {
  const before = new Date().toISOString()
  const path = await createJobs(t, [{ created: 'soon' }, { created: '' }, { created: null }])
  t.match(await figures(path, { from: before }), { total: 3 })
  t.match(await figures(path, { to: before }), { total: 0 })
})

t.test('failures without a code of their own count as UNSPECIFIED, rare ones as OTHER', async t => {
  const path = await createJobs(t, [
    ...[
      null, '', 'out of disk', '[]', 'null', '{"code":5,"message":"m"}', '{"code":"","message":"m"}', '{"code":"X"}',
      '"X"'
    ].map((error): Row => ({ status: 'Failed', error })),
    failed('X', { status: 'Succeeded' }), failed('C'.repeat(1000)),
    ...Array.from({ length: 120 }, (_, at) => failed(`E${String(at).padStart(3, '0')}`, { type: `t${at % 5}` })),
    failed('E119'), failed('OTHER')
  ])
  const { failures } = await figures(path, {})
  t.equal(failures.length, 101)
  t.strictSame(failures.slice(0, 4), [
    { code: 'UNSPECIFIED', count: 9 }, { code: 'E119', count: 2 }, { code: `${'C'.repeat(255)}…`, count: 1 },
    { code: 'E000', count: 1 }
  ])
  t.strictSame(failures.at(-1), { code: 'OTHER', count: 23 })
})

t.test('counts long failures by their codes, as their jobs show them', async t => {
  const long = 'm'.repeat(300_000)
  const path = await createJobs(t, [
    ...Array.from({ length: 3 }, () => ({ status: 'Failed', error: JSON.stringify({ code: 'LONG', message: long }) })),
    { status: 'Failed', error: JSON.stringify({ message: long, code: 'TOO_LATE' }) },
    { status: 'Failed', error: long },
    { status: 'Failed', error: JSON.stringify({ code: 'HUGE', message: 'm'.repeat(4 * 1024 * 1024) }) }
  ])
  t.strictSame((await figures(path, {})).failures, [{ code: 'LONG', count: 3 }, { code: 'UNSPECIFIED', count: 3 }])
})

t.test('counts the types beyond the first 500 as one', async t => {
  const { byType, total } = await figures(
    await createJobs(t, Array.from({ length: 700 }, (_, at) => ({ type: `t${at}` }))), {}
  )
  t.equal(byType.length, 501)
  t.match(byType[0], { type: '(other)', total: 200 })
  t.equal(total, 700)
})

t.test('CSV: one figure a line, and no cell is a formula', async t => {
  const path = await createJobs(t, [
    lasted(5, { type: '=HYPERLINK("x")' }), failed('@SUM(A1)', { type: 'a,"b"\nc' }), failed('-1+1'), failed('+1')
  ])
  const { text, contentType, fileName, message } = await report(path, { format: 'csv', to: '2027-01-01' })
  t.equal(contentType, 'text/csv; charset=utf-8; header=present')
  t.equal(fileName, 'job-report-2027-02-03.csv')
  t.equal(message, '4 jobs')
  const lines = text.split('\n')
  t.equal(lines[0], 'section,type,status,code,metric,value')
  for (const line of [
    'filter,,,,from,', 'filter,,,,to,2027-01-01T00:00:00.000Z', 'total,,,,jobs,4', 'status,,Failed,,jobs,3',
    'duration,,,,p50Ms,5', 'duration,x,,,count,0',
    'type,"\'=HYPERLINK(""x"")",,,jobs,1', 'failure,,,\'@SUM(A1),jobs,1', 'failure,,,\'-1+1,jobs,1',
    'failure,,,\'+1,jobs,1'
  ]) t.ok(text.includes(line), line)
  t.ok(text.includes('type,"a,""b""\nc",,,jobs,1'))
})

t.test('HTML: one page, every text escaped', async t => {
  const evil = '<script>alert("1")</script>\'&'
  const path = await createJobs(t, [lasted(90_000, { type: evil }), failed(evil, { type: evil }), {}])
  const { text, contentType, fileName } = await report(path, { format: 'html', type: evil })
  t.equal(contentType, 'text/html; charset=utf-8')
  t.equal(fileName, 'job-report-2027-02-03.html')
  t.notMatch(text, /<script|alert\("|href=|src=|url\(/)
  t.ok(text.includes('&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;&#39;&amp;'))
  t.match(text, '<html lang="en">')
  t.match(text, '1.5 min')
  t.match(text, '50.0 %')
})

t.test('reads 20,000 rows page by page', async t => {
  const path = await createJobs(t, (function * () {
    for (let at = 0; at < 20_000; at++) {
      yield lasted(at % 1000, { type: `t${at % 7}`, tenant: at % 2 === 0 ? 'a' : 'b' })
    }
  })())
  const progress: ProgressReport[] = []
  const result = await figures(path, {}, { tenant: 'a', allTenants: false }, report => { progress.push(report) })
  t.match(result, { total: 10_000, durationMs: { count: 10_000, min: 0, p50: 498, max: 998 } })
  t.equal(progress.length, 12)
  t.strictSame(progress.at(-2), { done: 10_000, total: 10_000 })
  for (let at = 1; at < progress.length; at++) t.ok(progress[at]!.done! >= progress[at - 1]!.done!)
})
