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
  redisCpuPerRequest: null,
  redisBytesPerRequest: null,
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
  redisCpuPerRequest: null,
  redisBytesPerRequest: null,
  ...changes
})

const result = (name: string, ...measurements: Measurement[]): ScenarioResult =>
  ({ name, title: name, measurements, invalid: [], confirmed: false })

const verdictOn = (rule: string, scenario: ScenarioResult, mode: 'full' | 'quick' | 'remote' = 'full') =>
  judge(scenario, mode).find(verdict => verdict.rule === rule)

t.test('records times in microseconds with three significant digits, and adds histograms', t => {
  const both = decodeFromCompressedBase64(encodeTogether([histogramOf(0.0123, 0.5), histogramOf(75.4)]))
  t.equal(both.totalCount, 3)
  t.equal(both.getValueAtPercentile(0), 12)
  t.equal(both.getValueAtPercentile(50), 500)
  t.ok(Math.abs(both.maxValue / 75_400 - 1) < 0.001, String(both.maxValue))
  t.equal(histogramOf(0).maxValue, 1)
  t.ok(histogramOf(1e9).maxValue >= 600_000_000, 'a time above the range is recorded as its limit')
  t.end()
})

t.test('computes the median', t => {
  t.equal(median([5, 1, 3]), 3)
  t.equal(median([4, 1, 3, 2]), 2.5)
  t.equal(median([7]), 7)
  t.ok(Number.isNaN(median([])))
  t.end()
})

t.test('combines rounds by the median or by the best value of each figure', t => {
  const rounds = [[1, 10], [2, 30], [3, 20]].map(([ms = 0, cpuPerRequest = 0]) =>
    sample({ cpuPerRequest }, Array<number>(100).fill(ms)))
  t.match(summarize('service', rounds, 'median'), {
    target: 'service', rounds: 3, requests: 300, p95: 2000, serverCpuPerRequest: 20, requestsPerSecond: 100
  })
  t.match(summarize('service', rounds, 'best'), { p95: 1000, serverCpuPerRequest: 10, storeReadsPer1000: 0.5 })
  const ofDeployed = summarize('service', [sample({ cpuPerRequest: null, serverUtilization: null })], 'median')
  t.match(ofDeployed, { serverCpuPerRequest: null, serverUtilization: null })
  t.end()
})

t.test('leaves a dropped round out, except for its errors', t => {
  const bad = sample({ dropped: ['only 1 samples'], cpuPerRequest: 999 })
  bad.counts.errors = 2
  const measured = summarize('service', [sample(), bad, sample()], 'median')
  t.match(measured, { rounds: 2, serverCpuPerRequest: 30, errors: 2, statusCodes: { 200: 3 } })
  t.equal(summarize('service', [bad], 'median'), null)
  t.end()
})

t.test('makes a run invalid if most rounds are dropped or one has a flaw', t => {
  const busy = sample({ dropped: ['the generator was busy'] })
  t.same(findFlaws('service', [sample(), busy, sample()]), [])
  t.same(findFlaws('service', [busy, busy, sample()]),
    ['service, latency: 2 of 3 rounds do not count: the generator was busy'])
  t.same(findFlaws('service', [sample(), sample({ invalid: ['3 requests without a response'] })]),
    ['3 requests without a response'])
  t.end()
})

t.test('marks a capacity as a lower bound if the server was not at its limit', t => {
  const isLowerBound = (mode: LoadMode, serverUtilization: number) =>
    summarize('service', [sample({ mode, serverUtilization })], 'median')?.isLowerBound
  t.equal(isLowerBound('capacity', 0.7), true)
  t.equal(isLowerBound('capacity', 0.98), false)
  t.equal(isLowerBound('latency', 0.1), false, 'a fixed rate measures no limit')
  t.end()
})

t.test('applies the ceilings to every kind of run', t => {
  for (const mode of ['full', 'quick', 'remote'] as const) {
    const withP95 = (p95: number) => result('cached', measurement('service', 'latency', { p95 }))
    t.match(verdictOn('P95', withP95(49_000), mode), { actual: 49, bound: 50, outcome: 'kept', unit: 'ms' })
    t.match(verdictOn('P95', withP95(51_000), mode), { outcome: 'broken' })
    const withError = result('cached',
      measurement('service', 'latency'), measurement('service', 'capacity', { errors: 1 }))
    t.match(verdictOn('errors', withError, mode), { actual: 1, outcome: 'broken' })
  }
  const remote = judge(result('cached', measurement('service', 'latency')), 'remote')
  t.ok(remote.every(({ rule }) => ['P95', 'errors'].includes(rule)))
  t.end()
})

t.test('computes a ratio under one load, in the closed loop if both targets have it', t => {
  const cached = (cpu: number) => result('cached',
    measurement('service', 'latency', { serverCpuPerRequest: 500 }),
    measurement('service', 'capacity', { serverCpuPerRequest: cpu }),
    measurement('bare', 'capacity', { serverCpuPerRequest: 20 }),
    measurement('bullmq', 'capacity', { serverCpuPerRequest: 120 }))
  const [toBare, toBullmq] = ['CPU per request, ratio to bare', 'answers per second of CPU, ratio to bullmq']
  t.match(verdictOn(toBare, cached(30)), { actual: 1.5, direction: 'max', outcome: 'kept', unit: '×' })
  t.match(verdictOn(toBare, cached(60)), { actual: 3, outcome: 'broken' })
  t.match(verdictOn(toBullmq, cached(40)), { actual: 3, direction: 'min', bound: 2.2, outcome: 'kept' })
  t.match(verdictOn(toBullmq, cached(60)), { outcome: 'broken' })
  t.match(verdictOn('answers per second of CPU, ratio to express', cached(30)), { actual: null, outcome: 'reported' })
  t.equal(verdictOn(toBullmq, cached(31), 'quick'), undefined, 'the quick run has no peers')
  const rows = result('rows',
    measurement('service', 'latency', { serverCpuPerRequest: 60 }),
    measurement('10 k rows', 'latency', { serverCpuPerRequest: 50 }))
  t.match(verdictOn('CPU per request, ratio to 10 k rows', rows), { actual: 1.2, outcome: 'broken' })
  t.end()
})

t.test('only reports ratios of times', t => {
  const slow = result('redis-down',
    measurement('service', 'latency', { p99: 9000 }), measurement('healthy', 'latency', { p99: 3000 }))
  t.match(verdictOn('P99, ratio to healthy', slow), { actual: 3, outcome: 'reported' })
  const timed = ({ to, figure }: Rule) => to !== undefined && ['p95', 'p99', 'requestsPerSecond'].includes(figure)
  t.ok(Object.values(budgets).flat().filter(timed).every(({ isReported }) => isReported))
  t.end()
})

t.test('computes the CPU of reads among writes as the total minus that of the writes', t => {
  const writes = (whole: number) => result('writes',
    measurement('service', 'latency', { serverUtilization: whole, requestsPerSecond: 4000, besidePerSecond: 500 }),
    measurement('writes alone', 'latency', { serverCpuPerRequest: 400, requestsPerSecond: 500 }),
    measurement('reads alone', 'latency', { serverUtilization: 0.2, requestsPerSecond: 4000 }))
  const rule = 'CPU per read, without that of the writes, ratio to reads alone'
  t.match(verdictOn(rule, writes(0.45)), { actual: 1.25, outcome: 'kept' })
  t.match(verdictOn(rule, writes(0.5)), { actual: 1.5, outcome: 'broken' })
  t.end()
})

t.test('excuses late responses of a server without a core, unless another budget is broken', t => {
  const late = (changes: Partial<Measurement>) =>
    result('memory', measurement('service', 'latency', { p95: 90_000, ...changes }))
  const excuses = (scenario: ScenarioResult) => findExcuses(scenario, judge(scenario, 'quick'))
  t.match(excuses(late({ serverWaited: 0.45 })), [/^P95 of 90 ms: the server waited for a core for 45 % of the time/])
  t.same(excuses(late({ serverWaited: 0.1 })), [])
  t.same(excuses(late({})), [])
  t.same(excuses(late({ serverWaited: 0.45, storeReadsPer1000: 900 })), [])
  t.same(excuses(late({ serverWaited: 0.45, p95: 1000 })), [], 'a kept budget needs no excuse')
  t.end()
})

t.test('reports an invalid scenario before a breach, and a run without measurements as invalid', t => {
  const fine = result('memory', measurement('service', 'latency'))
  const broken = result('memory', measurement('service', 'latency', { p95: 90_000 }))
  t.equal(toOutcome([fine], judge(fine, 'quick')), 'passed')
  t.equal(toOutcome([fine, broken], [fine, broken].flatMap(each => judge(each, 'quick'))), 'breach')
  t.equal(toOutcome([{ ...fine, invalid: ['why'] }, broken], judge(broken, 'quick')), 'invalid')
  t.equal(toOutcome([], []), 'invalid')
  t.end()
})

t.test('has rules for existing scenarios and targets only', t => {
  for (const [name, rules] of Object.entries(budgets)) {
    const scenario = scenarios.find(scenario => scenario.name === name)
    const quick = quickScenarios.find(scenario => scenario.name === name)
    t.ok(scenario, name)
    for (const { figure, to, max, min, quick: quickBound, isReported } of [...ceilings, ...rules]) {
      t.ok((max === undefined) !== (min === undefined), `${name}: ${figure} has one bound`)
      if (to === undefined) continue
      t.ok(scenario?.targets.some(target => target.name === to), `${name}: ${figure} to ${to}`)
      if (quick === undefined || quickBound === undefined || isReported === true) continue
      t.ok(quick.targets.some(target => target.name === to), `${name}: ${figure} to ${to} in the quick run`)
    }
  }
  t.same(scenarios.map(({ name }) => name).filter(name => !(name in budgets)), [])
  t.end()
})
