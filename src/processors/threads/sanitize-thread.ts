import { type ThreadResult, toThreadResult } from './thread-result.ts'
import { sanitize, type Sanitized } from '../sanitize/sanitize.ts'
import type { SanitizeInput } from '../../job/sanitize-input.ts'

/** Sanitizes in a thread, for the pool of synchronous sanitizing. Never rejects. */
export const runSanitize = (input: SanitizeInput): Promise<ThreadResult<Sanitized>> =>
  toThreadResult(() => sanitize(input))
