import { SanitizeInput, SanitizeRawInput } from '../../job/sanitize-input.ts'
import type { Processor } from '../processor.ts'

/** Removes from a content what could run, hide or mislead. */
export const sanitizeProcessor: Processor = {
  type: 'sanitize',
  inputSchema: SanitizeInput,
  rawInputSchema: SanitizeRawInput,
  needsScopes: [],
  module: new URL('./run.ts', import.meta.url)
}
