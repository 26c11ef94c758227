import type { LoadMode, Measurement, ScenarioResult, SuiteResult, Verdict } from '../result.ts'

/** The figures of one target in one scenario, for the reports. Null: not measured. Times are in microseconds. */
export type Figures = {
  scenario: string
  title: string
  target: string
  isService: boolean
  isValid: boolean
  requestsPerSecond: number | null
  isLowerBound: boolean
  p50: number | null
  p95: number | null
  p99: number | null
  p999: number | null
  cpuPerRequest: number | null
  /** CPU per request as a multiple of the bare route's under the same load, in the same scenario if it ran there. */
  ratioToBare: number | null
  /** The same for a bare route that sends as many bytes as the service, in the same scenario. */
  ratioToSame: number | null
  storeReadsPer1000: number | null
  redisCommandsPerRequest: number | null
  redisCpuPerRequest: number | null
  redisBytesPerRequest: number | null
  /** Latencies at the fixed rate as a histogram, V2, base64; empty if they were not measured. */
  histogram: string
}

const median = (numbers: number[]): number | null =>
  numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? null

const readCpu = (target: string, { measurements }: ScenarioResult, mode: LoadMode) =>
  measurements.find(each => each.target === target && each.mode === mode)?.serverCpuPerRequest ?? null

const divide = (cpu: number, by: number | null) => by === null || by === 0 ? null : cpu / by

/**
 * CPU of a target and of the bare route under the same load: at its limit a server handles several requests per
 * iteration of its event loop, which lowers the cost of each.
 */
const toCosts = (result: SuiteResult, scenario: ScenarioResult, measurements: Measurement[]) => {
  const costed = measurements.flatMap(({ mode, serverCpuPerRequest: cpu }) =>
    cpu === null ? [] : [{ mode, cpu, bare: readCpu('bare', scenario, mode) }])
  const [cost] = [...costed.filter(({ bare }) => bare !== null), ...costed]
  if (cost === undefined) return { cpuPerRequest: null, ratioToBare: null, ratioToSame: null }
  const all = result.scenarios.map(each => readCpu('bare', each, cost.mode)).filter(cpu => cpu !== null)
  return {
    cpuPerRequest: cost.cpu,
    ratioToBare: divide(cost.cpu, cost.bare ?? median(all)),
    ratioToSame: divide(cost.cpu, readCpu('bare-same', scenario, cost.mode))
  }
}

/** Returns one entry for each scenario and target, in the order of the result. */
export const toFigures = (result: SuiteResult): Figures[] => result.scenarios.flatMap(scenario =>
  [...Map.groupBy(scenario.measurements, ({ target }) => target)].map(([target, measurements]) => {
    const capacity = measurements.find(({ mode }) => mode === 'capacity')
    const latency = measurements.find(({ mode }) => mode === 'latency')
    const byLoad = [capacity, latency].filter(measurement => measurement !== undefined)
    return {
      scenario: scenario.name,
      title: scenario.title,
      target,
      isService: target === 'service',
      isValid: scenario.invalid.length === 0,
      requestsPerSecond: capacity?.requestsPerSecond ?? null,
      isLowerBound: capacity?.isLowerBound ?? false,
      p50: latency?.p50 ?? null,
      p95: latency?.p95 ?? null,
      p99: latency?.p99 ?? null,
      p999: latency?.p999 ?? null,
      ...toCosts(result, scenario, byLoad),
      storeReadsPer1000: capacity?.storeReadsPer1000 ?? latency?.storeReadsPer1000 ?? null,
      redisCommandsPerRequest: capacity?.redisCommandsPerRequest ?? latency?.redisCommandsPerRequest ?? null,
      redisCpuPerRequest: capacity?.redisCpuPerRequest ?? latency?.redisCpuPerRequest ?? null,
      redisBytesPerRequest: capacity?.redisBytesPerRequest ?? latency?.redisBytesPerRequest ?? null,
      histogram: latency?.histogram ?? ''
    }
  }))

/** Groups the controls, the peers and the other setups of the service, each with its figures of all scenarios. */
export const groupOthers = (figures: Figures[]): { name: string, each: Figures[] }[] =>
  [...Map.groupBy(figures.filter(({ isService }) => !isService), ({ target }) => target)].map(([target, each]) => {
    // Only the service counts its reads. Names such as `healthy` or `10 k rows` need the title of their scenario.
    const ofService = each.find(({ storeReadsPer1000, redisCommandsPerRequest }) =>
      storeReadsPer1000 !== null || redisCommandsPerRequest !== null)
    return { name: ofService ? `${target} (${ofService.title})` : target, each }
  })

/** CPU of the other targets as multiples of the bare route's: medians over their scenarios, the lowest first. */
export const toOtherRatios = (figures: Figures[]): { name: string, ratio: number }[] =>
  groupOthers(figures).flatMap(({ name, each }) => {
    const ratio = median(each.map(({ ratioToBare }) => ratioToBare).filter(ratio => ratio !== null))
    return ratio === null ? [] : [{ name, ratio }]
  }).toSorted((a, b) => a.ratio - b.ratio)

/** The budget for a scenario's CPU per request as a ratio to the bare route, if it has one. */
export const findRatioBudget = ({ verdicts }: SuiteResult, scenario: string): Verdict | undefined =>
  verdicts.find(verdict => verdict.scenario === scenario && /cpu.*ratio to bare(?![-\w])/i.test(verdict.rule))

/** Whether a verdict counts: those on an invalid scenario do not. */
export const isMeaningful = ({ scenarios }: SuiteResult, { scenario }: Verdict): boolean =>
  !scenarios.some(({ name, invalid }) => name === scenario && invalid.length > 0)
