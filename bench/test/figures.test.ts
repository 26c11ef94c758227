import { decodeFromCompressedBase64 } from 'hdr-histogram-js'
import t from 'tap'
import { budgets, ceilings, type Rule } from '../budgets.ts'
import { findExcuses, judge, toOutcome } from '../judge.ts'
import type { Sample } from '../measure.ts'
import type { LoadMode, Measurement, ScenarioResult } from '../result.ts'
import { quickScenarios, scenarios } from '../scenarios.ts'
import { createHistogram, encodeTogether, median, recordMs } from '../statistics.ts'
import { findFlaws, summarize } from '../summary.ts'

const histogramOf = (...times: number[]) => {
  const histogram = createHistogram()
  for (const ms of times) recordMs(histogram, ms)
  return histogram
}

const sample = (changes: Partial<Sample> = {}, times: number[] = [1]): Sample => ({
  mode: 'latency',
  counts: {
    seconds: 1,
    answered: times.length,
    histogram: histogramOf(...times),
    statusCodes: { 200: times.length },
    generatorUtilization: 0.1,
    errors: 0,
    unexpected: 0
  },
  cpuPerRequest: 30,
  serverUtilization: 0.5,
  serverWaited: 0,
  storeReadsPer1000: 0.5,
  redisCommandsPerRequest: 1,
  besidePerSecond: null,
  invalid: [],
  dropped: [],
  ...changes
})

const measurement = (target: string, mode: LoadMode, changes: Partial<Measurement> = {}): Measurement => ({
  target,
  mode,
  rounds: 5,
  requests: 1000,
  requestsPerSecond: 1000,
  isLowerBound: false,
  p50: 1000,
  p95: 2000,
  p99: 3000,
  p999: 4000,
  max: 5000,
  histogram: '',
  serverCpuPerRequest: 30,
  serverUtilization: 0.5,
  generatorUtilization: 0.1,
  errors: 0,
  statusCodes: { 200: 1000 },
  storeReadsPer1000: 0.5,
  redisCommandsPerRequest: 1,
  ...changes
})

const result = (name: string, ...measurements: Measurement[]): ScenarioResult =>
  ({ name, title: name, measurements, invalid: [], confirmed: false })

const verdictOn = (rule: string, scenario: ScenarioResult, mode: 'full' | 'quick' | 'remote' = 'full') =>
  judge(scenario, mode).find(verdict => verdict.rule === rule)

t.test('times are kept in microseconds, three digits exact, and histograms add up', t => {
  const both = decodeFromCompressedBase64(encodeTogether([histogramOf(0.0123, 0.5), histogramOf(75.4)]))
  t.equal(both.totalCount, 3)
  t.equal(both.getValueAtPercentile(0), 12)
  t.equal(both.getValueAtPercentile(50), 500)
  t.ok(Math.abs(both.maxValue / 75_400 - 1) < 0.001, String(both.maxValue))
  t.equal(histogramOf(0).maxValue, 1)
  t.ok(histogramOf(1e9).maxValue >= 600_000_000, 'what is beyond the range counts as its end')
  t.end()
})

t.test('the median', t => {
  t.equal(median([5, 1, 3]), 3)
  t.equal(median([4, 1, 3, 2]), 2.5)
  t.equal(median([7]), 7)
  t.ok(Number.isNaN(median([])))
  t.end()
})

t.test('rounds are summed up by their median, or by the best of each figure', t => {
  const rounds = [[1, 10], [2, 30], [3, 20]].map(([ms = 0, cpuPerRequest = 0]) => sample({ cpuPerRequest }, Array<number>(100).fill(ms)))
  t.match(summarize('service', rounds, 'median'), { target: 'service', rounds: 3, requests: 300, p95: 2000, serverCpuPerRequest: 20, requestsPerSecond: 100 })
  t.match(summarize('service', rounds, 'best'), { p95: 1000, serverCpuPerRequest: 10, storeReadsPer1000: 0.5 })
  t.match(summarize('elsewhere', [sample({ cpuPerRequest: null, serverUtilization: null })], 'median'), { serverCpuPerRequest: null, serverUtilization: null })
  t.end()
})

t.test('a round that does not count is left out, but not its errors', t => {
  const bad = sample({ dropped: ['only 1 samples'], cpuPerRequest: 999 })
  bad.counts.errors = 2
  const measured = summarize('service', [sample(), bad, sample()], 'median')
  t.match(measured, { rounds: 2, serverCpuPerRequest: 30, errors: 2, statusCodes: { 200: 3 } })
  t.equal(summarize('service', [bad], 'median'), null)
  t.end()
})

t.test('a run is invalid when most rounds do not count, or when anything was wrong in one', t => {
  const busy = sample({ dropped: ['the generator was busy'] })
  t.same(findFlaws('service', [sample(), busy, sample()]), [])
  t.same(findFlaws('service', [busy, busy, sample()]), ['service, latency: 2 of 3 rounds do not count: the generator was busy'])
  t.same(findFlaws('service', [sample(), sample({ invalid: ['3 requests without an answer'] })]), ['3 requests without an answer'])
  t.end()
})

t.test('capacity is a lower bound where the server had time to spare', t => {
  t.equal(summarize('service', [sample({ mode: 'capacity', serverUtilization: 0.7 })], 'median')?.isLowerBound, true)
  t.equal(summarize('service', [sample({ mode: 'capacity', serverUtilization: 0.98 })], 'median')?.isLowerBound, false)
  t.equal(summarize('service', [sample({ serverUtilization: 0.1 })], 'median')?.isLowerBound, false, 'at a fixed rate it is no limit at all')
  t.end()
})

t.test('ceilings hold in every kind of run', t => {
  for (const mode of ['full', 'quick', 'remote'] as const) {
    t.match(verdictOn('P95', result('cached', measurement('service', 'latency', { p95: 49_000 })), mode), { actual: 49, bound: 50, outcome: 'kept', unit: 'ms' })
    t.match(verdictOn('P95', result('cached', measurement('service', 'latency', { p95: 51_000 })), mode), { outcome: 'broken' })
    t.match(verdictOn('errors', result('cached', measurement('service', 'latency'), measurement('service', 'capacity', { errors: 1 })), mode), { actual: 1, outcome: 'broken' })
  }
  t.ok(judge(result('cached', measurement('service', 'latency')), 'remote').every(({ rule }) => ['P95', 'errors'].includes(rule)))
  t.end()
})

t.test('ratios are of one load, and the closed loop where both have it', t => {
  const cached = (cpu: number) => result('cached',
    measurement('service', 'latency', { serverCpuPerRequest: 500 }), measurement('service', 'capacity', { serverCpuPerRequest: cpu }),
    measurement('bare', 'capacity', { serverCpuPerRequest: 20 }), measurement('bullmq', 'capacity', { serverCpuPerRequest: 120 }))
  t.match(verdictOn('CPU per request, ratio to bare', cached(30)), { actual: 1.5, direction: 'max', outcome: 'kept', unit: '×' })
  t.match(verdictOn('CPU per request, ratio to bare', cached(60)), { actual: 3, outcome: 'broken' })
  t.match(verdictOn('answers per second of CPU, ratio to bullmq', cached(40)), { actual: 3, direction: 'min', bound: 2.2, outcome: 'kept' })
  t.match(verdictOn('answers per second of CPU, ratio to bullmq', cached(60)), { outcome: 'broken' })
  t.match(verdictOn('answers per second of CPU, ratio to express', cached(30)), { actual: null, outcome: 'reported' })
  t.equal(verdictOn('answers per second of CPU, ratio to bullmq', cached(31), 'quick'), undefined, 'the quick run has no peers')
  t.match(verdictOn('CPU per request, ratio to 10 k rows', result('rows',
    measurement('service', 'latency', { serverCpuPerRequest: 60 }), measurement('10 k rows', 'latency', { serverCpuPerRequest: 50 }))), { actual: 1.2, outcome: 'broken' })
  t.end()
})

t.test('ratios of times are shown only', t => {
  const slow = result('redis-down', measurement('service', 'latency', { p99: 9000 }), measurement('healthy', 'latency', { p99: 3000 }))
  t.match(verdictOn('P99, ratio to healthy', slow), { actual: 3, outcome: 'reported' })
  const timed = (rule: Rule) => rule.to !== undefined && ['p95', 'p99', 'requestsPerSecond'].includes(rule.figure)
  t.ok(Object.values(budgets).flat().filter(timed).every(({ isReported }) => isReported))
  t.end()
})

t.test('the CPU of reads among writes is the whole less that of the writes', t => {
  const writes = (whole: number) => result('writes',
    measurement('service', 'latency', { serverUtilization: whole, requestsPerSecond: 4000, besidePerSecond: 500 }),
    measurement('writes alone', 'latency', { serverCpuPerRequest: 400, requestsPerSecond: 500 }),
    measurement('reads alone', 'latency', { serverUtilization: 0.2, requestsPerSecond: 4000 }))
  t.match(verdictOn('CPU per read, without that of the writes, ratio to reads alone', writes(0.45)), { actual: 1.25, outcome: 'kept' })
  t.match(verdictOn('CPU per read, without that of the writes, ratio to reads alone', writes(0.5)), { actual: 1.5, outcome: 'broken' })
  t.end()
})

t.test('late answers of a server without a core say nothing, unless more is broken', t => {
  const late = (changes: Partial<Measurement>) => result('memory', measurement('service', 'latency', { p95: 90_000, ...changes }))
  const excuses = (scenario: ScenarioResult) => findExcuses(scenario, judge(scenario, 'quick'))
  t.match(excuses(late({ serverWaited: 0.45 })), [/^P95 of 90 ms: the server waited for a core for 45 % of the time/])
  t.same(excuses(late({ serverWaited: 0.1 })), [])
  t.same(excuses(late({})), [])
  t.same(excuses(late({ serverWaited: 0.45, storeReadsPer1000: 900 })), [])
  t.same(excuses(late({ serverWaited: 0.45, p95: 1000 })), [], 'what was kept is kept')
  t.end()
})

t.test('an invalid scenario weighs more than a breach, and nothing measured is no pass', t => {
  const fine = result('memory', measurement('service', 'latency'))
  const broken = result('memory', measurement('service', 'latency', { p95: 90_000 }))
  t.equal(toOutcome([fine], judge(fine, 'quick')), 'passed')
  t.equal(toOutcome([fine, broken], [fine, broken].flatMap(each => judge(each, 'quick'))), 'breach')
  t.equal(toOutcome([{ ...fine, invalid: ['why'] }, broken], judge(broken, 'quick')), 'invalid')
  t.equal(toOutcome([], []), 'invalid')
  t.end()
})

t.test('every rule is about a scenario and a target that there are', t => {
  for (const [name, rules] of Object.entries(budgets)) {
    const scenario = scenarios.find(scenario => scenario.name === name)
    const quick = quickScenarios.find(scenario => scenario.name === name)
    t.ok(scenario, name)
    for (const { figure, to, max, min, quick: quickBound, isReported } of [...ceilings, ...rules]) {
      t.ok((max === undefined) !== (min === undefined), `${name}: ${figure} has one bound`)
      if (to !== undefined) t.ok(scenario?.targets.some(target => target.name === to), `${name}: ${figure} to ${to}`)
      if (quick !== undefined && to !== undefined && quickBound !== undefined && isReported !== true) {
        t.ok(quick.targets.some(target => target.name === to), `${name}: ${figure} to ${to} in the quick run`)
      }
    }
  }
  t.same(scenarios.map(({ name }) => name).filter(name => !(name in budgets)), [])
  t.end()
})
