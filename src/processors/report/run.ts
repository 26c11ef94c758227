import type { RunProcessor } from '../processor.ts'
import type { ReportInput } from './processor.ts'
import { report } from './report.ts'

export const run: RunProcessor = (input, context) => report(input as ReportInput, context)
