import { type ThreadResult, toThreadResult } from '../../../src/processors/threads/thread-result.ts'
import { runSanitize as runReal } from '../../../src/processors/threads/sanitize-thread.ts'
import type { Sanitized } from '../../../src/processors/sanitize/sanitize.ts'
import type { SanitizeInput } from '../../../src/job/sanitize-input.ts'

/** Lets a content say what happens to the thread, where a real content would have to make it happen. */
export const runSanitize = async (input: SanitizeInput): Promise<ThreadResult<Sanitized>> => {
  if (input.content === 'spin') for (;;);
  if (input.content === 'exit') process.exit(3)
  if (input.content.startsWith('throw')) return await toThreadResult(() => { throw new Error(input.content) })
  if (input.content.startsWith('die')) {
    setImmediate(() => { throw new Error(input.content) })
    return await new Promise(() => {})
  }
  // The result is sent by then.
  if (input.content === 'last words') setTimeout(() => { throw new Error('idle') }, 1)
  return await runReal(input)
}
