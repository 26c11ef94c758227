import { readFile } from 'node:fs/promises'
import { toFigures, type Figures } from './report/figures.ts'
import { toCommit, toCount, toMachine, toMs, toOneDecimal, toRate } from './report/format.ts'
import { escapeMarkdown, toMarkdownTable } from './report/markdown.ts'
import { resultSchema, type SuiteResult } from './result.ts'

const cpuIncreaseMax = 0.1

const parse = (text: string): Record<string, unknown> | undefined => {
  try {
    const value = JSON.parse(text) as unknown
    return typeof value === 'object' && value !== null ? { ...value } : undefined
  } catch {
    return undefined
  }
}

/** Reads the result of an earlier run. @throws {Error} of one line if the file is missing or is no complete result */
export const readResult = async (path: string): Promise<SuiteResult> => {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new Error(`cannot read ${path}: ${error.code ?? error.message}`)
  })
  const value = parse(text)
  if (value?.schema === undefined) throw new Error(`${path} is not a bench result`)
  if (value.schema !== resultSchema) {
    const found = JSON.stringify(value.schema)
    throw new Error(`${path} has schema ${found}, this bench reads schema ${resultSchema}: measure again`)
  }
  const isComplete = Array.isArray(value.scenarios) && Array.isArray(value.verdicts)
  if (!isComplete) throw new Error(`${path} is not a complete bench result`)
  return value as unknown as SuiteResult
}

const assertComparable = (base: SuiteResult, current: SuiteResult) => {
  const [from, to] = [toMachine(base), toMachine(current)]
  if (from !== to) throw new Error(`cannot compare results of different machines: ${from} and ${to}`)
  if (base.mode !== current.mode) {
    throw new Error(`cannot compare results of different modes: ${base.mode} and ${current.mode}`)
  }
}

const toChange = (base: number | null, current: number | null) => {
  if (base === null || current === null || base === 0) return null
  return current / base - 1
}

const toPercent = (change: number | null) =>
  change === null ? '' : ` (${change < 0 ? '−' : '+'}${Math.abs(change * 100).toFixed(1)} %)`

const toCell = (base: number | null, current: number | null, toText: (value: number | null) => string) =>
  base === null && current === null ? '–' : `${toText(base)} → ${toText(current)}${toPercent(toChange(base, current))}`

const hasHigherCpu = ({ cpuPerRequest: base }: Figures, { cpuPerRequest: current }: Figures) =>
  base !== null && current !== null && current > base * (1 + cpuIncreaseMax)

const toName = ({ title, target, isService }: Figures) => isService ? title : `${title}, ${target}`

const toRow = (base: Figures, current: Figures) => [
  escapeMarkdown(current.title) + (base.isValid && current.isValid ? '' : ' (not valid)'),
  escapeMarkdown(current.target),
  base.requestsPerSecond === null && current.requestsPerSecond === null
    ? '–'
    : `${toRate(base)} → ${toRate(current)}${toPercent(toChange(base.requestsPerSecond, current.requestsPerSecond))}`,
  toCell(base.cpuPerRequest, current.cpuPerRequest, toOneDecimal) + (hasHigherCpu(base, current) ? ' **higher**' : ''),
  toCell(base.p95, current.p95, toMs)
]

const toDifferences = (base: SuiteResult, current: SuiteResult) => {
  const names = [...new Set([...Object.keys(base.versions), ...Object.keys(current.versions)])]
  const changed = names.filter(name => base.versions[name] !== current.versions[name])
    .map(name => `${name} ${base.versions[name] ?? 'none'} → ${current.versions[name] ?? 'none'}`)
  return changed.length === 0 ? [] : [escapeMarkdown(`Changed versions: ${changed.join(', ')}.`)]
}

/**
 * Compares two results, as Markdown: requests per second, CPU per request and P95 of each scenario and target. CPU
 * that rose by more than 10 % is marked; the other figures vary too much between runs for that.
 * @throws {Error} of one line if the results come from different machines or modes
 */
export const compareResults = (base: SuiteResult, current: SuiteResult): string => {
  assertComparable(base, current)
  const keyOf = ({ scenario, target }: Figures) => JSON.stringify([scenario, target])
  const [before, after] = [base, current].map(result =>
    new Map(toFigures(result).map(figures => [keyOf(figures), figures])))
  const pairs = [...after ?? []].flatMap(([key, figures]) => {
    const earlier = before?.get(key)
    return earlier ? [{ earlier, figures }] : []
  })
  const missing = (from: Map<string, Figures> = new Map(), of: Map<string, Figures> = new Map()) =>
    [...of].filter(([key]) => !from.has(key)).map(([, figures]) => escapeMarkdown(toName(figures)))
  const toOnly = (names: string[], where: string) =>
    names.length === 0 ? [] : [`Only in ${where}: ${names.join('; ')}.`]
  const higher = pairs.filter(({ earlier, figures }) => hasHigherCpu(earlier, figures))
    .map(({ figures }) => escapeMarkdown(toName(figures)))
  const toLabel = (result: SuiteResult) => escapeMarkdown(`${toCommit(result)} of ${result.startedAt}`)
  return [
    `# Bench: ${toLabel(base)} → ${toLabel(current)}`,
    higher.length === 0
      ? `CPU per request rose by more than 10 % in none of ${toCount(pairs.length)}.`
      : `CPU per request rose by more than 10 % in ${higher.length} of ${toCount(pairs.length)}: ${higher.join('; ')}.`,
    ...toDifferences(base, current),
    ...toOnly(missing(after, before), 'the base'),
    ...toOnly(missing(before, after), 'the new result'),
    toMarkdownTable(
      ['Scenario', 'Target', 'Requests/s', 'CPU µs per request', 'p95 ms'].map(head => ({ head })),
      pairs.map(({ earlier, figures }) => toRow(earlier, figures)))
  ].join('\n\n') + '\n'
}
