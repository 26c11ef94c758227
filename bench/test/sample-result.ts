import { build, encodeIntoCompressedBase64 } from 'hdr-histogram-js'
import { resultSchema, type Measurement, type ScenarioResult, type SuiteResult, type Verdict } from '../result.ts'
import { createNumbers } from '../../test/helpers/random.ts'

type Shape = {
  target?: string
  cpu: number | null
  /** Median latency in microseconds. */
  latency: number
  /** Share of the slow responses, and how many times slower they are. */
  slow?: [share: number, times: number]
  reads?: number
  commands?: number
  samples?: number
}

/** Realistic latencies: log-normal with a tail, and some responses that are many times slower. */
const measure = (shape: Shape, seed: number): Measurement[] => {
  const { target = 'service', cpu, latency, reads = 0, commands = 1, samples = 20_000 } = shape
  const [share, times] = shape.slow ?? [0.002, 6]
  const isService = target === 'service' || target === 'healthy'
  const random = createNumbers(seed)
  const histogram = build({ numberOfSignificantValueDigits: 3 })
  for (let at = 0; at < samples; at++) {
    const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
    const slowdown = random() < share ? times * (0.5 + random()) : 1
    histogram.recordValue(Math.round(latency * Math.exp(0.28 * normal) * slowdown))
  }
  const common = {
    target,
    rounds: 5,
    generatorUtilization: 0.81,
    errors: 0,
    storeReadsPer1000: isService ? reads : null,
    redisCommandsPerRequest: isService ? commands : null,
    p50: histogram.getValueAtPercentile(50),
    p95: histogram.getValueAtPercentile(95),
    p99: histogram.getValueAtPercentile(99),
    p999: histogram.getValueAtPercentile(99.9),
    max: histogram.maxValue,
    histogram: encodeIntoCompressedBase64(histogram)
  }
  const requestsPerSecond = cpu === null ? 4000 : 950_000 / (cpu + 18)
  return [
    {
      ...common,
      mode: 'capacity',
      requests: Math.round(requestsPerSecond * 20),
      requestsPerSecond,
      isLowerBound: cpu !== null && cpu < 18,
      serverCpuPerRequest: cpu,
      serverUtilization: cpu === null ? null : 0.97,
      statusCodes: { 200: Math.round(requestsPerSecond * 20) }
    },
    {
      ...common,
      mode: 'latency',
      requests: samples,
      requestsPerSecond: 2000,
      isLowerBound: false,
      serverCpuPerRequest: cpu === null ? null : cpu * 1.6,
      serverUtilization: cpu === null ? null : cpu * 1.6 * 2000 / 1e6,
      statusCodes: { 200: samples }
    }
  ]
}

const scenarios: [name: string, title: string, shape: Shape, ratioBudget?: number][] = [
  ['cached-v1', 'cached read, v1', { cpu: 21.6, latency: 410 }, 1.6],
  ['cached-task', 'cached read, task view', { cpu: 22.1, latency: 420 }, 1.6],
  ['not-modified', '304 from the cache', { cpu: 20.3, latency: 380 }, 1.5],
  ['absent', 'absent id (404)', { cpu: 23.9, latency: 450 }],
  ['unauthenticated', 'no token (401)', { cpu: 16.2, latency: 300, commands: 0 }],
  ['cold', 'cold read, from SQLite', { cpu: 40.1, latency: 780, reads: 1000, commands: 3, slow: [0.004, 8] }, 3],
  ['redis-down', 'Redis down from the start', { cpu: 20.4, latency: 370, reads: 1000, commands: 0 }, 1.5],
  ['redis-killed', 'Redis killed in mid-run', {
    cpu: 24.8, latency: 430, slow: [0.02, 30], reads: 512, commands: 0.49
  }],
  ['mixed', '90/10 with progress writes at 500/s', { cpu: 27.7, latency: 610, slow: [0.03, 7], reads: 3.1 }],
  ['bulk', 'bulk of 100 ids', { cpu: 310, latency: 2900, reads: 0, commands: 100, samples: 4000 }],
  ['large', '10 million rows', { cpu: 42.3, latency: 820, reads: 1000, commands: 3, slow: [0.006, 9] }],
  ['tokens', '200 distinct tokens', { cpu: 21.9, latency: 415 }, 1.6],
  ['in-process', 'in-process cache', { cpu: 16.4, latency: 290, commands: 0 }, 1.2]
]

const peers: Shape[] = [
  { target: 'bare-jwt', cpu: 24.6, latency: 310 },
  { target: 'bullmq', cpu: 82.4, latency: 1500, slow: [0.01, 5] },
  { target: 'express-sqlite', cpu: 136.9, latency: 2400, slow: [0.02, 6] },
  { target: 'pg-boss', cpu: 118.2, latency: 2600, slow: [0.02, 5] }
]

const bareCpu = 14.1

const toScenario = ([name, title, shape]: typeof scenarios[number], at: number): ScenarioResult => ({
  name,
  title,
  measurements: [
    ...measure(shape, at + 1),
    ...measure({ target: 'bare', cpu: bareCpu, latency: 240 }, at + 101),
    ...name === 'redis-down' ? measure({ target: 'healthy', cpu: 21.8, latency: 400 }, at + 151) : [],
    ...name === 'cached-v1' ? peers.flatMap((peer, at) => measure(peer, at + 201)) : []
  ],
  invalid: [],
  confirmed: false
})

const toVerdicts = (
  [scenario, , { cpu }, ratioBudget]: typeof scenarios[number], { measurements }: ScenarioResult
): Verdict[] => {
  const p95 = measurements.find(({ target, mode }) => target === 'service' && mode === 'latency')?.p95 ?? 0
  const keep = (verdict: Omit<Verdict, 'scenario' | 'outcome'>): Verdict => ({
    scenario,
    ...verdict,
    outcome: verdict.actual !== null && verdict.actual <= verdict.bound ? 'kept' : 'broken'
  })
  return [
    keep({ rule: 'P95 at the fixed rate', bound: 50, direction: 'max', actual: p95 / 1000, unit: 'ms' }),
    keep({ rule: 'errors', bound: 0, direction: 'max', actual: 0, unit: '' }),
    ...ratioBudget === undefined || cpu === null
      ? []
      : [keep({
          rule: 'CPU per request, ratio to bare', bound: ratioBudget, direction: 'max', actual: cpu / bareCpu, unit: '×'
        })],
    {
      scenario,
      rule: 'P95, ratio to bare',
      bound: 3,
      direction: 'max',
      actual: p95 / 380,
      unit: '×',
      outcome: 'reported'
    }
  ]
}

const makeResult = (): SuiteResult => {
  const results = scenarios.map(toScenario)
  return {
    schema: resultSchema,
    startedAt: '2026-11-21T10:20:30.456Z',
    seconds: 731,
    mode: 'full',
    commit: 'c422c85b898f4283bb48ad37861ad050f01f2515',
    machine: { cpu: 'Intel(R) Xeon(R) Processor @ 2.60GHz', cores: 2, memoryGiB: 7.8, platform: 'linux x64 6.1' },
    versions: { node: '24.21.0', redis: '7.0.15', fastify: '5.12.8', sqlite: '3.53.1' },
    scenarios: results,
    verdicts: results.flatMap((result, at) => toVerdicts(scenarios[at] ?? ['', '', { cpu: null, latency: 0 }], result)),
    outcome: 'passed'
  }
}

const sample = makeResult()

/** A passed run of all scenarios, with real histograms. Each call returns a new object, which a test may change. */
export const createSampleResult = (): SuiteResult => structuredClone(sample)

/** The cells of the first row of a Markdown table that starts with these cells. */
export const findRow = (markdown: string, ...first: string[]): string[] | undefined =>
  markdown.split('\n').map(line => line.split(/(?<!\\)\|/).slice(1, -1).map(cell => cell.trim()))
    .find(cells => first.every((cell, at) => cells[at] === cell))
