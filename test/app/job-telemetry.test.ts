import { pino } from 'pino'
import t, { type Test } from 'tap'
import { createQueueGauges, createTypeLabels, recordTransition } from '../../src/app/job-telemetry.ts'
import { createMetrics, type Metrics } from '../../src/metrics.ts'
import { createCountQueue } from '../../src/store/sqlite/readers/queue-count.ts'
import { openDatabase } from '../../src/store/sqlite/database.ts'
import type { QueueCount } from '../../src/store/store.ts'
import { openParts } from '../helpers/parts.ts'
import { turnsDuring } from '../helpers/turns.ts'
import { openForeign, openStore } from '../store/open.ts'
import { alice, leaseMs, noResult } from '../write/commands.ts'

const log = pino({ level: 'silent' })

/** The values of a metric, by the rest of their names. */
const valuesOf = async ({ registry }: Metrics, name: string): Promise<Record<string, number>> =>
  Object.fromEntries((await registry.getSingleMetricAsString(name)).split('\n')
    .filter(line => line.startsWith(name))
    .map(line => /^(.*) (\S+)$/.exec(line.slice(name.length)) ?? [])
    .map(([, labels = '', value]) => [labels, Number(value)]))

t.test('measures by type the wait for the first claim, every run and the end of a job', async t => {
  const metrics = createMetrics()
  const clock = { ms: Date.parse('2026-03-01T09:00:00Z') }
  const now = () => clock.ms
  const typeLabels = createTypeLabels(['report'], false)
  const { submitJob, claimJob, runJob, cancelJob } = await openParts(t, {
    now, onTransition: recordTransition({ metrics, log, typeLabels, now })
  })
  const submit = async (type: string) => (await submitJob(alice, { type, input: {} }, null)).jobId
  const claim = async (type: string) => {
    const claimed = await claimJob({ types: [type], tenant: null }, 'w', leaseMs)
    if (claimed === null) throw new Error('nothing to claim')
    return claimed
  }
  await submit('report')
  clock.ms += 2000
  const first = await claim('report')
  clock.ms += 3000
  await runJob.fail(first, { code: 'X', message: 'x' }, true)
  clock.ms += 60_000
  const second = await claim('report')
  clock.ms += 7000
  await runJob.complete(second, noResult)
  await cancelJob(await submit('a-type-of-theirs'), () => true)

  const waits = await valuesOf(metrics, 'job_wait_seconds')
  t.match(waits, { '_count{type="report"}': 1, '_sum{type="report"}': 2 }, 'the retry is no wait')
  const runs = await valuesOf(metrics, 'job_run_seconds')
  t.match(runs, { '_count{type="report"}': 2, '_sum{type="report"}': 10 })
  t.notOk('_count{type="other"}' in runs, 'a job that never ran')
  t.strictSame(await valuesOf(metrics, 'jobs_finished_total'), {
    '{type="report",state="succeeded"}': 1, '{type="other",state="cancelled"}': 1
  })
})

t.test('a type has a label of its own if it is known, or if every type has', async t => {
  const known = createTypeLabels(['report', 'report', 'mail'], false)
  t.same(known.known, ['report', 'mail', 'other'])
  t.same(['mail', 'scan', null].map(known.toLabel), ['mail', 'other', 'other'])
  t.same(['mail', 'scan', null].map(createTypeLabels(['mail'], true).toLabel), ['mail', 'scan', 'other'])
})

/** Gauges over counts that the test makes up, with a clock and a timer that it moves. */
const openGauges = (counts: () => Promise<QueueCount[]>, isEvery = false) => {
  const metrics = createMetrics()
  const clock = { ms: 1_000_000 }
  let counted = 0
  let outOfPatience = () => {}
  const refresh = createQueueGauges({
    count: () => {
      counted++
      return counts()
    },
    metrics,
    typeLabels: createTypeLabels(['report', 'mail'], isEvery),
    now: () => clock.ms,
    monotonicNow: () => clock.ms,
    schedule: work => {
      outOfPatience = work
      return { cancel: () => {} }
    }
  })
  const jobs = async () => {
    await refresh()
    return await valuesOf(metrics, 'job_queue_jobs')
  }
  return { metrics, clock, refresh, jobs, counted: () => counted, endPatience: () => { outOfPatience() } }
}

t.test('the gauges of the queue have each known type, and add up the others', async t => {
  const { metrics, clock, jobs } = openGauges(async () => [
    { type: 'mail', queued: 3, running: 1, oldestAt: 990_000 },
    { type: 'a', queued: 2, running: 0, oldestAt: 970_000 },
    { type: 'b', queued: 1, running: 4, oldestAt: 960_000 },
    { type: 'c', queued: 0, running: 1, oldestAt: null }
  ])
  t.strictSame(await jobs(), {
    '{type="report",state="queued"}': 0,
    '{type="report",state="running"}': 0,
    '{type="mail",state="queued"}': 3,
    '{type="mail",state="running"}': 1,
    '{type="other",state="queued"}': 3,
    '{type="other",state="running"}': 5
  })
  clock.ms += 2000
  await jobs()
  t.strictSame(await valuesOf(metrics, 'job_queue_oldest_age_seconds'), {
    '{type="report"}': 0, '{type="mail"}': 12, '{type="other"}': 42
  }, 'the age goes on between two counts')
})

t.test('a scrape counts again after five seconds, and after a long count later', async t => {
  const { clock, jobs, counted } = openGauges(async () => {
    clock.ms += counted() === 1 ? 10 : 1000
    return []
  })
  await jobs()
  clock.ms += 4999
  await jobs()
  t.equal(counted(), 1)
  clock.ms += 1
  await jobs()
  t.equal(counted(), 2)
  clock.ms += 19_999
  await jobs()
  t.equal(counted(), 2, 'a twentieth of the time')
  clock.ms += 1
  await jobs()
  t.equal(counted(), 3)
})

t.test('a scrape does not wait for a slow count, two share one, and a failed one leaves no figures', async t => {
  const results: Array<(counts: Promise<QueueCount[]>) => void> = []
  const { clock, jobs, counted, endPatience } = openGauges(() => new Promise(resolve => { results.push(resolve) }), true)
  const count = (queued: number): QueueCount[] => [{ type: 'scan', queued, running: 0, oldestAt: 0 }]
  const both = [jobs(), jobs()]
  results[0]?.(Promise.resolve(count(7)))
  for (const values of await Promise.all(both)) t.match(values, { '{type="scan",state="queued"}': 7 })
  t.equal(counted(), 1)
  clock.ms += 5000
  const slow = jobs()
  endPatience()
  t.match(await slow, { '{type="scan",state="queued"}': 7 }, 'those of the count before')
  const failing = jobs()
  results[1]?.(Promise.reject(new Error('the database is away')))
  t.strictSame(await failing, {})
})

/** A queue that another program has filled, and a count of it in slices of ten entries. */
const openQueue = async (t: Test, rows: string) => {
  const { path } = await openStore(t)
  openForeign(t, path).exec(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 97)
    INSERT INTO JobQueue (jobId, type, maxAttempts, availableAt, leaseToken, leaseExpiresAt, seq) ${rows}`)
  const database = openDatabase(path)
  t.teardown(database.close)
  return createCountQueue({ database, entriesAtOnceMax: 10 })
}

t.test('a long queue is counted in slices, between which the event loop turns, whatever they end on', async t => {
  // Many are available at the same time, and as many run under leases that end at the same time.
  const count = await openQueue(t, `
    SELECT 'q' || i, CASE WHEN i <= 60 THEN 'mail' WHEN i <= 70 THEN 'report' ELSE 'scan-' || i END, 3, i / 25, NULL, NULL, i
    FROM n UNION ALL SELECT 'r' || i, 'mail', 3, 0, 'token', i / 25, 1000 + i FROM n`)
  let counts: QueueCount[] = []
  t.ok(await turnsDuring(async () => { counts = await count() }) > 10)
  const of = (name: string) => counts.find(({ type }) => type === name)
  t.same(of('mail'), { type: 'mail', queued: 60, running: 97, oldestAt: 0 })
  t.same(of('report'), { type: 'report', queued: 10, running: 0, oldestAt: 2 }, 'a whole slice')
  t.equal(counts.length, 2 + 27)
  t.same(of('scan-97'), { type: 'scan-97', queued: 1, running: 0, oldestAt: 3 })
})
