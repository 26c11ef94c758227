import { type Static, Type } from '@sinclair/typebox'
import { StringEnum } from '../../job/job.ts'

const sanitizableTypes = ['text/html', 'text/plain', 'application/json'] as const

const rawTypes = ['text/html', 'text/plain', 'application/x-ndjson'] as const

const normalizations = ['NFC', 'NFKC', 'none'] as const

const options = Type.Optional(Type.Object({
  normalization: Type.Optional(StringEnum(normalizations, { description: 'NFC unless told' }))
}, { additionalProperties: false }))

/** A sanitization asked for: of a job, and of the synchronous API. */
export const SanitizeInput = Type.Object({
  content: Type.String(),
  contentType: StringEnum(sanitizableTypes),
  options
}, { additionalProperties: false })
export type SanitizeInput = Static<typeof SanitizeInput>

/** The same of a content whose bytes come apart. */
export const SanitizeRawInput = Type.Object({
  contentType: StringEnum(rawTypes),
  options
}, { additionalProperties: false })
export type SanitizeRawInput = Static<typeof SanitizeRawInput>

/** A Unicode normalization form, or none at all. */
export type Normalization = typeof normalizations[number]
