import { type Static, Type } from '@sinclair/typebox'
import { OptionalOrNull, StringEnum } from './schema-kinds.ts'

/** Unicode normalization forms (UAX #15); `none` leaves the text as it is. */
export const normalizations = ['NFC', 'NFKC', 'none'] as const
export type Normalization = typeof normalizations[number]

/** The media types that can be sent as raw bytes. */
export const rawContentTypes = ['text/html', 'text/plain', 'application/x-ndjson'] as const

const options = OptionalOrNull(Type.Object({
  normalization: OptionalOrNull(StringEnum(normalizations, { description: 'Default: NFC.' }))
}, { additionalProperties: false }))

/** A content to sanitize: the input of a job, and the body of the synchronous API. */
export const SanitizeInput = Type.Object({
  content: Type.String(),
  contentType: StringEnum(['text/html', 'text/plain', 'application/json'] as const),
  options
}, { additionalProperties: false })
export type SanitizeInput = Static<typeof SanitizeInput>

/** The input of a job whose content is stored as raw bytes. */
export const SanitizeRawInput = Type.Object({
  contentType: StringEnum(rawContentTypes),
  options
}, { additionalProperties: false })
export type SanitizeRawInput = Static<typeof SanitizeRawInput>
