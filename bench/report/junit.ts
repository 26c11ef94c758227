import type { ScenarioResult, SuiteResult, Verdict } from '../result.ts'
import { isMeaningful } from './figures.ts'
import { toActual, toBound } from './format.ts'

const references: Record<string, string> = {
  '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', '\n': '&#10;', '\r': '&#13;', '\t': '&#9;'
}

// XML 1.0 cannot represent most control characters or a lone surrogate; a parser rejects a file that contains one.
const unwritable = /[^\t\n\r\u{20}-\u{d7ff}\u{e000}-\u{fffd}\u{10000}-\u{10ffff}]/gu

const escape = (text: string) =>
  text.replace(unwritable, '\ufffd').replace(/[&<>"\n\r\t]/g, character => references[character] ?? '')

const toAttributes = (attributes: Record<string, string | number>) =>
  Object.entries(attributes).map(([name, value]) => ` ${name}="${escape(String(value))}"`).join('')

type Case = { name: string, failure?: { type: string, lines: string[] }, skipped?: string }

const toCase = (suite: string, { name, failure, skipped }: Case) => {
  const head = `    <testcase${toAttributes({ classname: suite, name })}`
  if (failure) {
    const { type, lines } = failure
    const attributes = toAttributes({ type, message: lines.join('; ') })
    return `${head}>\n      <failure${attributes}>${escape(lines.join('\n'))}</failure>\n    </testcase>`
  }
  if (skipped === undefined) return `${head}/>`
  return `${head}>\n      <skipped${toAttributes({ message: skipped })}/>\n    </testcase>`
}

const toVerdictCase = (result: SuiteResult, verdict: Verdict): Case => {
  const name = `${verdict.rule} ${toBound(verdict)}`
  if (!isMeaningful(result, verdict)) return { name, skipped: 'the run is not valid' }
  if (verdict.outcome === 'kept') return { name }
  const line = `${verdict.rule}: ${toActual(verdict)}, budget ${toBound(verdict)}`
  return { name, failure: { type: 'breach', lines: [line] } }
}

const toCases = (result: SuiteResult, { name, invalid }: ScenarioResult): Case[] => [
  { name: 'valid run', ...invalid.length > 0 && { failure: { type: 'invalid', lines: invalid } } },
  ...result.verdicts.filter(verdict => verdict.scenario === name && verdict.outcome !== 'reported')
    .map(verdict => toVerdictCase(result, verdict))
]

const toCounts = (cases: Case[]) => ({
  tests: cases.length,
  failures: cases.filter(({ failure }) => failure).length,
  errors: 0,
  skipped: cases.filter(({ skipped }) => skipped !== undefined).length
})

/** Returns JUnit XML: a suite for each scenario, with a case for each enforced budget and one for the valid run. */
export const toJunit = (result: SuiteResult): string => {
  const suites = result.scenarios.map(scenario => ({ name: scenario.name, cases: toCases(result, scenario) }))
  const timestamp = result.startedAt
  const total = toCounts(suites.flatMap(({ cases }) => cases))
  return [
    '<?xml version="1.0" encoding="UTF-8"?>',
    `<testsuites${toAttributes({ name: 'bench', ...total, time: result.seconds, timestamp })}>`,
    ...suites.flatMap(({ name, cases }) => [
      `  <testsuite${toAttributes({ name, ...toCounts(cases), timestamp })}>`,
      ...cases.map(each => toCase(name, each)),
      '  </testsuite>'
    ]),
    '</testsuites>'
  ].join('\n') + '\n'
}
