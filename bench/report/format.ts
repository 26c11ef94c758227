import { isMeaningful, type Figures } from './figures.ts'
import type { SuiteResult, Verdict } from '../result.ts'

const absent = '–'

const orAbsent = (format: (value: number) => string) => (value: number | null) =>
  value === null ? absent : format(value)

export const toCount = orAbsent(count => count.toLocaleString('en', { maximumFractionDigits: 0 }))

/** Formats microseconds as milliseconds with three significant digits. */
export const toMs = orAbsent(us =>
  (us / 1000).toLocaleString('en', { minimumSignificantDigits: 3, maximumSignificantDigits: 3 }))

const toNumber = orAbsent(value => value.toLocaleString('en', { maximumFractionDigits: Math.abs(value) < 10 ? 3 : 1 }))

export const toRatio = orAbsent(ratio => ratio.toFixed(2))

export const toOneDecimal = orAbsent(value =>
  value.toLocaleString('en', { minimumFractionDigits: 1, maximumFractionDigits: 1 }))

export const toRate = ({ requestsPerSecond, isLowerBound }: Figures): string =>
  `${isLowerBound ? '≥ ' : ''}${toCount(requestsPerSecond)}`

export const toBound = ({ bound, direction, unit }: Verdict): string =>
  `${direction === 'max' ? '≤' : '≥'} ${toNumber(bound)} ${unit}`.trimEnd()

export const toActual = ({ actual, unit }: Verdict): string =>
  actual === null ? 'not measured' : `${toNumber(actual)} ${unit}`.trimEnd()

export const toDuration = (seconds: number): string => {
  const whole = Math.round(seconds)
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`
}

/** The columns that each report shows after the scenario and its target. */
export const figureColumns: { head: string, toText: (figures: Figures) => string }[] = [
  { head: 'Requests/s', toText: toRate },
  { head: 'p50 ms', toText: ({ p50 }) => toMs(p50) },
  { head: 'p95 ms', toText: ({ p95 }) => toMs(p95) },
  { head: 'p99 ms', toText: ({ p99 }) => toMs(p99) },
  { head: 'p99.9 ms', toText: ({ p999 }) => toMs(p999) },
  { head: 'CPU µs', toText: ({ cpuPerRequest }) => toOneDecimal(cpuPerRequest) },
  { head: 'CPU to bare', toText: ({ ratioToBare }) => toRatio(ratioToBare) },
  { head: 'CPU to same', toText: ({ ratioToSame }) => toRatio(ratioToSame) },
  { head: 'Store reads/1,000', toText: ({ storeReadsPer1000 }) => toNumber(storeReadsPer1000) },
  { head: 'Redis cmds/req', toText: ({ redisCommandsPerRequest }) => toNumber(redisCommandsPerRequest) },
  { head: 'Redis CPU µs', toText: ({ redisCpuPerRequest }) => toOneDecimal(redisCpuPerRequest) },
  { head: 'Redis bytes/req', toText: ({ redisBytesPerRequest }) => toCount(redisBytesPerRequest) }
]

/** Explains these columns. */
export const figuresNote = 'Requests/s: as fast as the connections allow (≥: the server was not at its limit). ' +
  'Latencies: at the fixed rate, corrected for coordinated omission. ' +
  'CPU: of the server process per request, and as a multiple of that of a bare route and of one that sends the same ' +
  'bytes as the service.'

export const toVerdictOutcome = (result: SuiteResult, verdict: Verdict): string =>
  isMeaningful(result, verdict) ? verdict.outcome : 'not valid'

/** The title of a scenario, or its name if the result does not contain the scenario. */
export const toTitle = ({ scenarios }: SuiteResult, name: string): string =>
  scenarios.find(scenario => scenario.name === name)?.title ?? name

/** Reasons why the run did not pass, one per line; empty if it passed. */
export const toReasons = (result: SuiteResult): string[] => [
  ...result.scenarios.flatMap(({ title, invalid }) => invalid.map(why => `${title}: the run is not valid: ${why}`)),
  ...result.verdicts.filter(verdict => verdict.outcome === 'broken' && isMeaningful(result, verdict)).map(verdict =>
    `${toTitle(result, verdict.scenario)}: ${verdict.rule}: ${toActual(verdict)}, budget ${toBound(verdict)}`)
]

/** One line about the run: its numbers of kept budgets and valid scenarios. */
export const toTally = (result: SuiteResult): string => {
  const gating = result.verdicts.filter(({ outcome }) => outcome !== 'reported')
  const kept = gating.filter(verdict => verdict.outcome === 'kept' && isMeaningful(result, verdict))
  const valid = result.scenarios.filter(({ invalid }) => invalid.length === 0)
  return `${kept.length} of ${gating.length} budgets kept, ` +
    `${valid.length} of ${result.scenarios.length} scenarios valid, ` +
    `${result.mode} run of ${toDuration(result.seconds)}`
}

/** What was not measured, with the reason, one per line. */
export const toAbsences = ({ scenarios }: SuiteResult): string[] =>
  scenarios.flatMap(({ title, absent = [] }) => absent.map(why => `${title}: not measured: ${why}`))

/** The first twelve digits of the commit, followed by `-dirty` if the working tree had changes. */
export const toCommit = ({ commit }: SuiteResult): string =>
  commit?.replace(/^([0-9a-f]{12})[0-9a-f]*/, '$1') ?? 'unknown'

export const toMachine = ({ machine }: SuiteResult): string =>
  `${machine.cpu}, ${machine.cores} cores, ${toNumber(machine.memoryGiB)} GiB, ${machine.platform}`
