import { toEpochMs, toIso } from '../../job/time.ts'
import { type ProcessorContext, ProcessorError, type ProcessorOutput } from '../processor.ts'
import { collectFigures, type Report } from './figures.ts'
import type { ReportInput } from './input.ts'
import { toCsv } from './to-csv.ts'
import { toHtml } from './to-html.ts'
import { toJson } from './to-json.ts'

const renderings: Record<NonNullable<ReportInput['format']>, { contentType: string, render: (report: Report) => string }> = {
  json: { contentType: 'application/json; charset=utf-8', render: toJson },
  csv: { contentType: 'text/csv; charset=utf-8; header=present', render: toCsv },
  html: { contentType: 'text/html; charset=utf-8', render: toHtml }
}

const toLimit = (field: 'from' | 'to', text: string | undefined): number | undefined => {
  if (text === undefined) return undefined
  const ms = toEpochMs(text)
  if (ms !== null) return ms
  throw new ProcessorError('INVALID_INPUT', `"${field}" is not a date that exists.`, { details: [{ field, rule: 'date' }] })
}

/**
 * A report over the rows that `context.access` may read. Each row counts as it was when its page was read: rows that
 * appear meanwhile are left to the next report.
 *
 * Throws ProcessorError INVALID_INPUT where a limit is no date or the limits are the wrong way round.
 */
export const report = async (input: ReportInput, context: ProcessorContext): Promise<ProcessorOutput> => {
  const from = toLimit('from', input.from)
  const to = toLimit('to', input.to)
  if (from !== undefined && to !== undefined && from > to) {
    throw new ProcessorError('INVALID_INPUT', '"from" is later than "to".', { details: [{ field: 'from', rule: 'order' }] })
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
