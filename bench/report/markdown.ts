import type { SuiteResult } from '../result.ts'
import { toFigures } from './figures.ts'
import {
  figureColumns, figuresNote, toAbsences, toActual, toBound, toMachine, toReasons, toTally, toTitle, toVerdictOutcome
} from './format.ts'

type Column = { head: string, isNumber?: boolean }

/** Escapes text so that it ends no cell and starts no tag, link or image. */
export const escapeMarkdown = (text: string): string =>
  text.replace(/\s+/g, ' ').replace(/[\\|*[\]]|<(?=[a-z/!?])|&(?=#?\w+;)/gi, character => `\\${character}`)

/** Returns a table whose columns are aligned in plain text too. Cells must be escaped already. */
export const toMarkdownTable = (columns: Column[], rows: string[][]): string => {
  const widths = columns.map(({ head }, at) => Math.max(head.length, 3, ...rows.map(row => row[at]?.length ?? 0)))
  const toLine = (cells: string[]) => `| ${cells.join(' | ')} |`
  const pad = (cells: string[]) => cells.map((cell, at) =>
    columns[at]?.isNumber ? cell.padStart(widths[at] ?? 0) : cell.padEnd(widths[at] ?? 0))
  return [
    toLine(pad(columns.map(({ head }) => head))),
    toLine(columns.map(({ isNumber }, at) =>
      isNumber ? `${'-'.repeat((widths[at] ?? 0) - 1)}:` : '-'.repeat(widths[at] ?? 0))),
    ...rows.map(row => toLine(pad(row)))
  ].join('\n')
}

const toScenarios = (result: SuiteResult) => toMarkdownTable(
  [{ head: 'Scenario' }, { head: 'Target' }, ...figureColumns.map(({ head }) => ({ head, isNumber: true }))],
  toFigures(result).map(figures => [
    escapeMarkdown(figures.title) + (figures.isValid ? '' : ' (not valid)'),
    escapeMarkdown(figures.target),
    ...figureColumns.map(({ toText }) => toText(figures))
  ]))

const toBudgets = (result: SuiteResult) => toMarkdownTable(
  [
    { head: 'Scenario' }, { head: 'Budget' },
    { head: 'Bound', isNumber: true }, { head: 'Actual', isNumber: true }, { head: 'Outcome' }
  ],
  result.verdicts.map(verdict => {
    const outcome = toVerdictOutcome(result, verdict)
    return [
      ...[toTitle(result, verdict.scenario), verdict.rule, toBound(verdict), toActual(verdict)].map(escapeMarkdown),
      outcome === 'broken' ? '**broken**' : outcome
    ]
  }))

const toAgain = ({ scenarios }: SuiteResult) => {
  const titles = scenarios.filter(({ confirmed }) => confirmed).map(({ title }) => escapeMarkdown(title))
  if (titles.length === 0) return []
  return [`Run again after a breach, with the figures of the second run: ${titles.join(', ')}.`]
}

/** Returns the result as Markdown for the summary of a CI step; it is also readable in a terminal. */
export const toMarkdown = (result: SuiteResult): string => {
  const reasons = [...toReasons(result), ...toAbsences(result)].map(reason => `- ${escapeMarkdown(reason)}`).join('\n')
  const { commit, startedAt } = result
  const versions = Object.entries(result.versions).map(([name, version]) => `${name} ${version}`).join(', ')
  return [
    `# Bench: ${result.outcome}`,
    `${toTally(result)}.`,
    ...reasons === '' ? [] : [reasons],
    ...toAgain(result),
    '## Scenarios',
    toScenarios(result),
    figuresNote,
    '## Budgets',
    toBudgets(result),
    escapeMarkdown(`${toMachine(result)}; ${versions}; commit ${commit ?? 'unknown'}; started ${startedAt}.`)
  ].join('\n\n') + '\n'
}
