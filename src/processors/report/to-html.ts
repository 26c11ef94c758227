import type { DurationFigures } from './durations.ts'
import type { Report } from './figures.ts'
import { pageStyle } from './page-style.ts'

const references: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }
const escape = (text: string) => text.replace(/[&<>"']/g, character => references[character] ?? '')

const units: [string, number][] = [['d', 86_400_000], ['h', 3_600_000], ['min', 60_000], ['s', 1000]]

const toNumber = (count: number) => count.toLocaleString('en')

const toSpan = (ms: number | null) => {
  if (ms === null) return '–'
  const [name, length] = units.find(([, length]) => ms >= length) ?? ['ms', 1]
  return `${(ms / length).toLocaleString('en', { maximumSignificantDigits: 3 })} ${name}`
}

const toTimeElement = (iso: string | null, absent: string) => iso === null
  ? absent
  : `<time datetime="${escape(iso)}">${escape(iso.slice(0, 19).replace('T', ' '))} UTC</time>`

/** A count with its share as a bar; screen readers skip the bar. */
const toShare = (count: number, total: number, kind = '') => {
  const percent = total === 0 ? 0 : count / total * 100
  return `<td class="number">${toNumber(count)}</td><td class="number">${percent.toFixed(1)} %</td>` +
    `<td class="bar" aria-hidden="true"><span class="${kind}" style="width:${percent.toFixed(2)}%"></span></td>`
}

const toSpans = ({ count, min, p50, p95, p99, max }: DurationFigures) =>
  [toNumber(count), ...[min, p50, p95, p99, max].map(toSpan)].map(cell => `<td class="number">${cell}</td>`).join('')

const toColumnHead = (name: string, at: number) =>
  name === '' ? '<td></td>' : `<th scope="col"${at === 0 ? '' : ' class="number"'}>${name}</th>`

const toTable = (caption: string, columns: string[], rows: string[], absent: string) => rows.length === 0
  ? `<section><h2>${caption}</h2><p>${absent}</p></section>`
  : `<section><h2 id="${caption.replaceAll(' ', '-').toLowerCase()}">${caption}</h2>
<div class="scroll" role="region" aria-labelledby="${caption.replaceAll(' ', '-').toLowerCase()}" tabindex="0"><table>
<thead><tr>${columns.map(toColumnHead).join('')}</tr></thead>
<tbody>
${rows.map(row => `<tr>${row}</tr>`).join('\n')}
</tbody></table></div></section>`

const toRowHead = (text: string) => `<th scope="row">${escape(text)}</th>`

const toTiles = (report: Report) => {
  const finished = report.byStatus.Succeeded + report.byStatus.Failed
  const succeeded = finished === 0 ? '–' : `${(report.byStatus.Succeeded / finished * 100).toFixed(1)} %`
  const tiles = [
    ['Jobs', toNumber(report.total)], ['Succeeded of finished', succeeded],
    ['Median duration', toSpan(report.durationMs.p50)], ['99th percentile', toSpan(report.durationMs.p99)]
  ]
  return `<dl class="tiles">${tiles.map(([name, value]) => `<div><dt>${name}</dt><dd>${value}</dd></div>`).join('')}</dl>`
}

const toFacts = ({ filter, period, generatedAt }: Report) => `<dl class="facts">
<div><dt>Jobs created</dt><dd>${toTimeElement(period.from, 'none')} to ${toTimeElement(period.to, 'none')}</dd></div>
<div><dt>Asked for</dt><dd>from ${toTimeElement(filter.from, 'the beginning')}, before ${toTimeElement(filter.to, 'the end')}, ${
  filter.type === null ? 'every type' : `type ${escape(filter.type)}`}</dd></div>
<div><dt>Generated</dt><dd>${toTimeElement(generatedAt, '')}</dd></div>
</dl>`

/** A page without scripts and requests, with every text escaped. */
export const toHtml = (report: Report): string => {
  const failed = report.byStatus.Failed
  const spanColumns = ['Counted', 'Shortest', 'Median', '95 %', '99 %', 'Longest']
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Job execution report</title>
<style>${pageStyle}</style>
</head>
<body>
<main>
<h1>Job execution report</h1>
${toFacts(report)}
${toTiles(report)}
${toTable('By status', ['Status', 'Jobs', 'Share', ''], Object.entries(report.byStatus).map(([status, count]) =>
    toRowHead(status) + toShare(count, report.total, status.toLowerCase())), '')}
${toTable('By type', ['Type', 'Jobs', 'Share', '', 'Queued', 'Running', 'Succeeded', 'Failed'],
    report.byType.map(({ type, total, byStatus }) => toRowHead(type) + toShare(total, report.total) +
      Object.values(byStatus).map(count => `<td class="number">${toNumber(count)}</td>`).join('')), 'No jobs.')}
${toTable('Durations', ['Type', ...spanColumns], report.durationMs.count === 0
    ? []
    : [toRowHead('All types') + toSpans(report.durationMs),
        ...report.byType.filter(({ durationMs }) => durationMs.count > 0)
          .map(({ type, durationMs }) => toRowHead(type) + toSpans(durationMs))], 'No finished jobs.')}
${toTable('Failures by code', ['Code', 'Jobs', 'Share', ''],
    report.failures.map(({ code, count }) => toRowHead(code) + toShare(count, failed, 'failed')), 'No failures.')}
</main>
</body>
</html>
`
}
