import { stringify } from 'csv-stringify/sync'
import type { DurationFigures } from './durations.ts'
import type { Report, StatusCounts } from './figures.ts'

type Line = { section: string, type?: string, status?: string, code?: string, metric: string, value: string | number }

const toStatusLines = (section: string, byStatus: StatusCounts, of: { type?: string }): Line[] =>
  Object.entries(byStatus).map(([status, value]) => ({ section, ...of, status, metric: 'jobs', value }))

const toDurationLines = ({ count, ...figures }: DurationFigures, of: { type?: string }): Line[] => [
  { section: 'duration', ...of, metric: 'count', value: count },
  ...Object.entries(figures).flatMap(([name, value]): Line[] =>
    value === null ? [] : [{ section: 'duration', ...of, metric: `${name}Ms`, value }])
]

const toLines = (report: Report): Line[] => [
  { section: 'report', metric: 'generatedAt', value: report.generatedAt },
  ...Object.entries(report.filter).map(([name, value]): Line => ({
    section: 'filter', metric: name, value: value ?? ''
  })),
  ...Object.entries(report.period).map(([name, value]): Line => ({
    section: 'period', metric: name, value: value ?? ''
  })),
  { section: 'total', metric: 'jobs', value: report.total },
  ...toStatusLines('status', report.byStatus, {}),
  ...toDurationLines(report.durationMs, {}),
  ...report.byType.flatMap(({ type, total, byStatus, durationMs }): Line[] => [
    { section: 'type', type, metric: 'jobs', value: total },
    ...toStatusLines('type', byStatus, { type }),
    ...toDurationLines(durationMs, { type })
  ]),
  ...report.failures.map(({ code, count }): Line => ({ section: 'failure', code, metric: 'jobs', value: count }))
]

/** One figure a line, so that new figures add no column. Cells that a spreadsheet would run get a leading quote. */
export const toCsv = (report: Report): string => stringify(toLines(report), {
  header: true,
  columns: ['section', 'type', 'status', 'code', 'metric', 'value'],
  escape_formulas: true
})
