import { readFile } from 'node:fs/promises'
import type { SuiteResult } from '../result.ts'
import { toCurveData, type CurveData } from './curves.ts'
import { toFigures, type Figures } from './figures.ts'
import {
  figureColumns, figuresNote, toAbsences, toActual, toBound, toCommit, toMachine, toReasons, toTally, toTitle,
  toVerdictOutcome
} from './format.ts'
import { escapeHtml, toScriptJson } from './html-text.ts'
import { toRatioBars } from './ratio-bars.ts'

const outcomes: Record<SuiteResult['outcome'], string> = {
  passed: 'Passed', breach: 'Budget broken', invalid: 'Not valid'
}

const contentPolicy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"

const readAsset = (name: string) => readFile(new URL(name, import.meta.url), 'utf8')
const readOfUplot = (name: string) => readFile(new URL(name, import.meta.resolve('uplot')), 'utf8')

const toBadge = (kind: string, text: string) => `<span class="badge ${kind}">${escapeHtml(text)}</span>`

const toHeader = (result: SuiteResult) => {
  const reasons = toReasons(result)
  const absences = toAbsences(result)
  const again = result.scenarios.filter(({ confirmed }) => confirmed).map(({ title }) => title)
  const facts = [
    ['Started', `${result.startedAt.slice(0, 19).replace('T', ' ')} UTC`],
    ['Commit', toCommit(result)],
    ['Machine', toMachine(result)],
    ['Versions', Object.entries(result.versions).map(([name, version]) => `${name} ${version}`).join(', ')],
    ...absences.length === 0 ? [] : [['Not measured', absences.join('; ')]],
    ...again.length === 0 ? [] : [['Run again after a breach', again.join(', ')]]
  ]
  const items = reasons.map(reason => `<li>${escapeHtml(reason)}</li>`)
  const definitions = facts.map(([name, value]) => `<div><dt>${name}</dt><dd>${escapeHtml(value ?? '')}</dd></div>`)
  return `<header>
<div class="title"><h1>Bench of the job status service</h1>${toBadge(result.outcome, outcomes[result.outcome])}</div>
<p>${escapeHtml(toTally(result))}</p>
${reasons.length === 0 ? '' : `<ul class="reasons ${result.outcome}">\n${items.join('\n')}\n</ul>`}
<dl class="facts">${definitions.join('')}</dl>
</header>`
}

const toTable = (labelledBy: string, columns: { head: string, isNumber: boolean }[], groups: string[][]) => {
  const heads = columns.map(({ head, isNumber }) => `<th scope="col"${isNumber ? ' class="number"' : ''}>${head}</th>`)
  const bodies = groups.map(rows => `<tbody>\n${rows.map(row => `<tr${row}</tr>`).join('\n')}\n</tbody>`)
  const label = `aria-labelledby="${labelledBy}"`
  return `<div class="scroll" role="region" ${label} tabindex="0"><table ${label}>
<thead><tr>${heads.join('')}</tr></thead>
${bodies.join('\n')}
</table></div>`
}

const toNumberCell = (text: string) => `<td class="number">${escapeHtml(text)}</td>`

/** The rows of one scenario, which share one heading. Each is the text after `<tr`. */
const toGroup = <Row>(
  rows: Row[], toHead: (first: Row) => string, toCells: (row: Row) => string, toKind: (row: Row) => string
) => rows.map((row, at) => {
    const head = at === 0 ? `<th scope="rowgroup" rowspan="${rows.length}">${toHead(row)}</th>` : ''
    return `${toKind(row)}>${head}${toCells(row)}`
  })

const toFigureCells = (figures: Figures) => figureColumns.map(({ toText }) => toNumberCell(toText(figures))).join('')

const toScenarios = (figures: Figures[]) => toTable('scenarios',
  [
    { head: 'Scenario', isNumber: false }, { head: 'Target', isNumber: false },
    ...figureColumns.map(({ head }) => ({ head, isNumber: true }))
  ],
  [...Map.groupBy(figures, ({ scenario }) => scenario).values()].map(group => toGroup(group,
    ({ title, isValid }) => `${escapeHtml(title)}${isValid ? '' : ' <span class="mark">not valid</span>'}`,
    each => `<td class="target">${escapeHtml(each.target)}</td>${toFigureCells(each)}`,
    ({ isService }) => isService ? '' : ' class="other"')))

const toBudgets = (result: SuiteResult) => toTable('budgets',
  ['Scenario', 'Budget', 'Bound', 'Actual', 'Outcome']
    .map(head => ({ head, isNumber: head === 'Bound' || head === 'Actual' })),
  [...Map.groupBy(result.verdicts, ({ scenario }) => scenario).values()].map(group => toGroup(group,
    ({ scenario }) => escapeHtml(toTitle(result, scenario)),
    verdict => {
      const outcome = toVerdictOutcome(result, verdict)
      return `<td>${escapeHtml(verdict.rule)}</td>${toNumberCell(toBound(verdict))}${toNumberCell(toActual(verdict))}` +
        `<td>${toBadge(outcome === 'not valid' ? 'invalid' : outcome, outcome)}</td>`
    },
    () => '')))

const toCurves = ({ curves }: CurveData) => curves.length === 0
  ? '<p class="note">No latencies were measured in this run.</p>'
  : `<p class="note">The percentage of responses that arrived within a time, at the fixed rate, corrected for
coordinated omission. Both axes are logarithmic. The table below contains the same figures.</p>
<div id="chart" role="img" aria-label="Latency by percentile, one curve for each scenario"></div>
<div class="at">
<span id="at"></span>
<span><button type="button" id="all">Show all</button><button type="button" id="none">Hide all</button></span>
</div>
<ul class="legend" id="legend" role="list" aria-label="Curves shown"></ul>
<noscript><p class="note">The curves need JavaScript.</p></noscript>`

const toScripts = async (data: CurveData) => data.curves.length === 0
  ? ''
  : `<script type="application/json" id="curves">${toScriptJson(data)}</script>
<script>${await readOfUplot('uPlot.iife.min.js')}</script>
<script>${await readAsset('page.js')}</script>`

/** Returns a self-contained page: it loads no resources, and all texts of the result are escaped. */
export const toHtml = async (result: SuiteResult): Promise<string> => {
  const figures = toFigures(result)
  const data = toCurveData(result, figures)
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="${contentPolicy}">
<title>Bench: ${result.outcome}, ${escapeHtml(result.startedAt.slice(0, 10))}</title>
<style>${await readOfUplot('uPlot.min.css')}
${await readAsset('page.css')}</style>
</head>
<body>
<main>
${toHeader(result)}
<section><h2>CPU per request, as a multiple of a bare Fastify route</h2>
<p class="note">User and system time of the server process per response, divided by that of a Fastify route with a
static body in the same run. 1 is the lower limit; shorter is better. “Same bytes” divides by a route that sends the
status code, headers and body of the service’s answer.</p>
${toRatioBars(result, figures)}
</section>
<section><h2>Latency by percentile</h2>
${toCurves(data)}
</section>
<section><h2 id="scenarios">Scenarios</h2>
<p class="note">${figuresNote}</p>
${toScenarios(figures)}
</section>
<section><h2 id="budgets">Budgets</h2>
<p class="note">A broken budget fails the run. Budgets that are only reported never do.</p>
${toBudgets(result)}
</section>
</main>
${await toScripts(data)}
</body>
</html>
`
}
