import type { Report } from './figures.ts'

/** The report as it is: the type Report is the documentation of this format. */
export const toJson = (report: Report): string => `${JSON.stringify(report, null, 2)}\n`
