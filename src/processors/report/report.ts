import { toEpochMs, toIso } from '../../job/time.ts'
import { type ProcessorContext, ProcessorError, type ProcessorOutput } from '../processor.ts'
import { collectFigures, type Report } from './figures.ts'
import { toCsv } from './to-csv.ts'
import { toHtml } from './to-html.ts'

type Format = 'json' | 'csv' | 'html'

/** `from` and `to` are ISO 8601; jobs created from `from` on and before `to` count, of one type or of all. */
export type ReportRequest = { from?: string, to?: string, type?: string, format?: Format }

// The type Report documents the JSON format.
const toJson = (report: Report): string => `${JSON.stringify(report, null, 2)}\n`

const renderings: Record<Format, { contentType: string, render: (report: Report) => string }> = {
  json: { contentType: 'application/json; charset=utf-8', render: toJson },
  csv: { contentType: 'text/csv; charset=utf-8; header=present', render: toCsv },
  html: { contentType: 'text/html; charset=utf-8', render: toHtml }
}

const toLimit = (field: 'from' | 'to', text: string | undefined): number | undefined => {
  if (text === undefined) return undefined
  const ms = toEpochMs(text)
  if (ms !== null) return ms
  throw new ProcessorError('INVALID_INPUT', `"${field}" is not a date that exists.`, {
    details: [{ field, rule: 'date' }]
  })
}

/**
 * A report over the records that the submitter may read. Each counts as it was when its page was read; records that
 * are written later are not in the report.
 *
 * Throws ProcessorError INVALID_INPUT if a limit is not a date, or `from` is later than `to`.
 */
export const report = async (input: ReportRequest, context: ProcessorContext): Promise<ProcessorOutput> => {
  const from = toLimit('from', input.from)
  const to = toLimit('to', input.to)
  if (from !== undefined && to !== undefined && from > to) {
    throw new ProcessorError('INVALID_INPUT', '"from" is later than "to".', {
      details: [{ field: 'from', rule: 'order' }]
    })
  }
  const generatedAt = toIso(context.now())
  const figures = collectFigures({ from, to })
  const { total, pages } = await context.records({ type: input.type })
  let done = 0
  context.progress({ stage: 'reading', done, total })
  for await (const page of pages) {
    for (const row of page) figures.add(row)
    done += page.length
    context.progress({ done, total })
  }
  context.progress({ stage: 'rendering', done: total, total })
  const made = figures.toReport({
    generatedAt,
    filter: {
      from: from === undefined ? null : toIso(from),
      to: to === undefined ? null : toIso(to),
      type: input.type ?? null
    }
  })
  const format = input.format ?? 'json'
  const { contentType, render } = renderings[format]
  return {
    contentType,
    fileName: `job-report-${generatedAt.slice(0, 10)}.${format}`,
    message: `${made.total} jobs`,
    body: [new TextEncoder().encode(render(made))]
  }
}
