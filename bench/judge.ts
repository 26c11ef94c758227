import { budgets, ceilings, type Figure, type Rule } from './budgets.ts'
import type { LoadMode, Measurement, ScenarioResult, SuiteResult, Verdict } from './result.ts'

/*
 * Compares the measurements with the budgets.
 */

type Find = (target: string, mode: LoadMode) => Measurement | undefined

const names: Record<Figure, string> = {
  p95: 'P95',
  p99: 'P99',
  errors: 'errors',
  storeReads: 'store reads per 1,000 requests',
  redisCommands: 'Redis commands per request',
  redisCpu: 'CPU of Redis per request',
  redisBytes: 'bytes from Redis per request',
  cpu: 'CPU per request',
  capacity: 'answers per second of CPU',
  requestsPerSecond: 'requests per second',
  cpuOfReads: 'CPU per read, without that of the writes'
}

// Both sides of a ratio must have the same load: at its limit a server handles several requests per iteration of its
// event loop, which lowers the cost of each.
const modesOf = (find: Find, rule: Rule): LoadMode[] => (['capacity', 'latency'] as const).filter(mode =>
  find('service', mode) !== undefined && (rule.to === undefined || find(rule.to, mode) !== undefined))

const cpuOfReads = (find: Find, target: string): number | null => {
  const [all, writes] = [find(target, 'latency'), find('writes alone', 'latency')]
  if (all?.serverUtilization == null || writes?.serverCpuPerRequest == null) return null
  const microsOfWrites = (all.besidePerSecond ?? 0) * writes.serverCpuPerRequest
  return (all.serverUtilization * 1e6 - microsOfWrites) / all.requestsPerSecond
}

const errorsOf = (find: Find, target: string): number | null => {
  const found = (['capacity', 'latency'] as const).map(mode => find(target, mode)?.errors)
    .filter(errors => errors !== undefined)
  return found.length === 0 ? null : found.reduce((sum, errors) => sum + errors, 0)
}

const read = (find: Find, figure: Figure, target: string, mode: LoadMode | undefined): number | null => {
  const timed = find(target, 'latency')
  const costed = mode === undefined ? undefined : find(target, mode)
  switch (figure) {
    case 'p95': return timed === undefined ? null : timed.p95 / 1000
    case 'p99': return timed === undefined ? null : timed.p99 / 1000
    case 'errors': return errorsOf(find, target)
    case 'storeReads': return costed?.storeReadsPer1000 ?? null
    case 'redisCommands': return costed?.redisCommandsPerRequest ?? null
    case 'redisCpu': return costed?.redisCpuPerRequest ?? null
    case 'redisBytes': return costed?.redisBytesPerRequest ?? null
    case 'cpu': return costed?.serverCpuPerRequest ?? null
    case 'capacity': return costed?.serverCpuPerRequest == null ? null : 1e6 / costed.serverCpuPerRequest
    case 'requestsPerSecond': return find(target, 'capacity')?.requestsPerSecond ?? null
    case 'cpuOfReads': return cpuOfReads(find, target)
  }
}

const ratio = (above: number | null, below: number | null): number | null =>
  above === null || below === null || below === 0 ? null : above / below

const toActual = (find: Find, rule: Rule): number | null => {
  const [mode] = modesOf(find, rule)
  const own = read(find, rule.figure, 'service', mode)
  return rule.to === undefined ? own : ratio(own, read(find, rule.figure, rule.to, mode))
}

const toUnit = ({ figure, to }: Rule): string => {
  if (to !== undefined) return '×'
  return figure === 'p95' || figure === 'p99' ? 'ms' : ''
}

const boundOf = (rule: Rule, mode: SuiteResult['mode']): number | undefined =>
  mode === 'quick' ? rule.quick : rule.max ?? rule.min

const judgeRule = (scenario: ScenarioResult, rule: Rule, bound: number): Verdict => {
  const find: Find = (target, mode) =>
    scenario.measurements.find(measurement => measurement.target === target && measurement.mode === mode)
  const actual = toActual(find, rule)
  const direction = rule.min === undefined ? 'max' : 'min'
  const isKept = actual !== null && (direction === 'max' ? actual <= bound : actual >= bound)
  return {
    scenario: scenario.name,
    rule: names[rule.figure] + (rule.to === undefined ? '' : `, ratio to ${rule.to}`),
    bound,
    direction,
    actual,
    unit: toUnit(rule),
    // A missing measurement either makes the run invalid or belongs to an optional peer.
    outcome: rule.isReported === true || actual === null ? 'reported' : isKept ? 'kept' : 'broken'
  }
}

/** The verdicts on one scenario, by the rules of this kind of run. `limits`: those that hold for every scenario. */
export const judge = (
  scenario: ScenarioResult, mode: SuiteResult['mode'], limits: readonly Rule[] = ceilings
): Verdict[] => {
  const rules = [...limits, ...(mode === 'remote' ? [] : budgets[scenario.name] ?? [])]
  return rules.flatMap(rule => {
    const bound = boundOf(rule, mode)
    return bound === undefined ? [] : [judgeRule(scenario, rule, bound)]
  })
}

/** Share of the time without a core above which late responses are caused by the machine and not by the server. */
export const waitedMax = 0.3

/**
 * Reasons why a breach does not count, one per line: the only broken bounds are on times, and the server often had to
 * wait for a core. A bound that was kept under such load still counts as kept.
 */
export const findExcuses = (scenario: ScenarioResult, verdicts: readonly Verdict[]): string[] => {
  const service = scenario.measurements.find(({ target, mode }) => target === 'service' && mode === 'latency')
  const waited = service?.serverWaited ?? 0
  const broken = verdicts.filter(({ outcome }) => outcome === 'broken')
  if (waited <= waitedMax || broken.some(({ unit }) => unit !== 'ms')) return []
  const share = `${(waited * 100).toFixed(0)} %`
  return broken.map(({ rule, actual }) =>
    `${rule} of ${actual?.toFixed(0)} ms: the server waited for a core for ${share} of the time`)
}

/** The outcome of a run: `invalid` if any scenario is invalid, else `breach` if any rule is broken, else `passed`. */
export const toOutcome = (
  scenarios: readonly ScenarioResult[], verdicts: readonly Verdict[]
): SuiteResult['outcome'] => {
  if (scenarios.length === 0 || scenarios.some(({ invalid }) => invalid.length > 0)) return 'invalid'
  return verdicts.some(({ outcome }) => outcome === 'broken') ? 'breach' : 'passed'
}
