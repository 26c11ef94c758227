import type { Processor } from '../processor.ts'
import { ReportInput } from './input.ts'

/** How the jobs of a tenant went: counts, durations and failures, as JSON, CSV or a page. */
export const reportProcessor: Processor = {
  type: 'report',
  inputSchema: ReportInput,
  needsScopes: ['jobs:read'],
  async run (input, context) {
    const { report } = await import('./report.ts')
    return report(input as ReportInput, context)
  }
}
