import { type Static, Type } from '@sinclair/typebox'
import { OptionalOrNull, StringEnum } from '../../job/schema-kinds.ts'
import type { Processor } from '../processor.ts'

const isoTime =
  '^\\d{4}-\\d{2}-\\d{2}([Tt ]\\d{2}:\\d{2}(:\\d{2}([.,]\\d{1,9})?)?([Zz]|[+-]\\d{2}(:?\\d{2})?)?)?$'

const from = 'ISO 8601 date or date-time, UTC unless it says otherwise; jobs created then or later'

/** Which jobs a report covers: an empty object means every job that the submitter may read. */
const ReportInput = Type.Object({
  from: OptionalOrNull(Type.String({ pattern: isoTime, description: from })),
  to: OptionalOrNull(Type.String({ pattern: isoTime, description: 'the same; jobs created before' })),
  type: OptionalOrNull(Type.String({ minLength: 1, maxLength: 256, description: 'jobs of this type only' })),
  format: OptionalOrNull(StringEnum(['json', 'csv', 'html'], { description: 'json by default' }))
}, { additionalProperties: false })
export type ReportInput = Static<typeof ReportInput>

/** How the jobs of a tenant went: counts, durations and failures, as JSON, CSV or a page. */
export const reportProcessor: Processor = {
  type: 'report',
  inputSchema: ReportInput,
  needsScopes: ['jobs:read'],
  module: new URL('./run.ts', import.meta.url)
}
