import { type Static, Type } from '@sinclair/typebox'
import { StringEnum } from '../../job/job.ts'

const isoTime =
  '^\\d{4}-\\d{2}-\\d{2}([Tt ]\\d{2}:\\d{2}(:\\d{2}([.,]\\d{1,9})?)?([Zz]|[+-]\\d{2}(:?\\d{2})?)?)?$'

const reportFormats = ['json', 'csv', 'html'] as const

/** Which jobs a report covers: an empty object means every job that the submitter may read. */
export const ReportInput = Type.Object({
  from: Type.Optional(Type.String({ pattern: isoTime, description: 'ISO 8601 date or date-time, UTC unless it says otherwise; jobs created then or later' })),
  to: Type.Optional(Type.String({ pattern: isoTime, description: 'the same; jobs created before' })),
  type: Type.Optional(Type.String({ minLength: 1, maxLength: 256, description: 'jobs of this type only' })),
  format: Type.Optional(StringEnum(reportFormats, { description: 'json unless told' }))
}, { additionalProperties: false })
export type ReportInput = Static<typeof ReportInput>
