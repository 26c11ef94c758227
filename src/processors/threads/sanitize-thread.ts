import { type ThreadResult, toThreadResult } from './thread-result.ts'
import { sanitize, type Sanitized } from '../sanitize/sanitize.ts'
import type { SanitizeInput } from '../../job/sanitize-input.ts'

/** What the pool for synchronous sanitizations runs in a thread. Never rejects. */
export const runSanitize = (input: SanitizeInput): Promise<ThreadResult<Sanitized>> => toThreadResult(() => sanitize(input))
