import { ServiceFailure } from '../../errors.ts'
import { ProcessorError } from '../processor.ts'
import type { Sanitized } from './sanitize.ts'
import type { SanitizeInput } from '../../job/sanitize-input.ts'
import { SanitizeOverloaded, type SanitizePool } from './sanitize-pool.ts'

/**
 * Sanitizes for a client that waits. Throws VALIDATION_FAILED for a content that cannot be sanitized, OVERLOADED,
 * INTERNAL, and the reason of an aborted signal.
 */
export type SanitizeNow = (input: SanitizeInput, signal: AbortSignal) => Promise<Sanitized>

// What is wrong with the content, as the rule it breaks.
const rules: Record<string, string> = {
  INVALID_JSON: 'json',
  JSON_TOO_DEEP: 'maxDepth',
  JSON_TOO_WIDE: 'maxNames',
  HTML_TOO_DEEP: 'maxDepth',
  TOO_MANY_MARKS: 'maxMarks',
  INPUT_TOO_LARGE: 'maxSize'
}

const toServiceFailure = (error: unknown): unknown => {
  if (error instanceof SanitizeOverloaded) {
    return new ServiceFailure('OVERLOADED', 'Too much is being sanitized right now.', { retryAfterSeconds: 1 }, { cause: error })
  }
  if (!(error instanceof ProcessorError)) return error
  const rule = rules[error.code]
  if (rule === undefined) return new ServiceFailure('INTERNAL', 'The content could not be sanitized; the log has the reason.', {}, { cause: error })
  return new ServiceFailure('VALIDATION_FAILED', error.message, { errors: [{ field: 'content', rule, message: error.message }] })
}

export const createSanitizeNow = ({ sanitize }: Pick<SanitizePool, 'sanitize'>): SanitizeNow =>
  async (input, signal) => {
    try {
      return await sanitize(input, signal)
    } catch (error) {
      throw toServiceFailure(error)
    }
  }
