import { type Static, Type } from '@sinclair/typebox'
import { StringEnum } from '../../job/job.ts'

const sanitizableTypes = ['text/html', 'text/plain', 'application/json'] as const

const normalizations = ['NFC', 'NFKC', 'none'] as const

/** A sanitization asked for: of a job, and of the synchronous API. */
export const SanitizeInput = Type.Object({
  content: Type.String(),
  contentType: StringEnum(sanitizableTypes),
  options: Type.Optional(Type.Object({
    normalization: Type.Optional(StringEnum(normalizations, { description: 'NFC unless told' }))
  }, { additionalProperties: false }))
}, { additionalProperties: false })
export type SanitizeInput = Static<typeof SanitizeInput>

/** A Unicode normalization form, or none at all. */
export type Normalization = typeof normalizations[number]
