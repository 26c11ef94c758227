import { ServiceFailure } from '../../errors.ts'
import type { SanitizeInput } from '../../job/sanitize-input.ts'
import type { Schedule } from '../../schedule.ts'
import { ProcessorError } from '../processor.ts'
import { crashed, type ThreadResult, toOutput } from '../threads/thread-result.ts'
import { createThreads } from '../threads/threads.ts'
import type { Sanitized } from './sanitize.ts'

export type SanitizePool = {
  /**
   * Sanitizes for a client that waits. Throws VALIDATION_FAILED for content that cannot be sanitized, OVERLOADED,
   * INTERNAL, and the reason of an aborted signal, which ends the thread that works on the content.
   */
  sanitizeNow: (input: SanitizeInput, signal: AbortSignal) => Promise<Sanitized>
  /** Ends every thread; calls under way and later ones fail with INTERNAL. */
  close: () => Promise<void>
}

export type SanitizePoolNeeds = {
  /** Contents at once. */
  threads: number
  /** Contents that may wait for a thread, at least one; further ones are rejected. */
  waitingMax: number
  /** From the call to its end, waiting included. */
  timeoutMs: number
  schedule: Schedule
  /** The module that exports `runSanitize`. */
  entry?: URL
}

// The rule that a content breaks, by the error that sanitizing it gives.
const rules: Record<string, string> = {
  INVALID_JSON: 'json',
  JSON_TOO_DEEP: 'maxDepth',
  JSON_TOO_WIDE: 'maxNames',
  HTML_TOO_DEEP: 'maxDepth',
  TOO_MANY_MARKS: 'maxMarks',
  INPUT_TOO_LARGE: 'maxSize'
}

const toSanitizeFailure = (cause: ProcessorError): ServiceFailure => {
  const { code, message } = cause
  const rule = rules[code]
  return rule === undefined
    ? new ServiceFailure('INTERNAL', 'The content could not be sanitized; the log has the reason.', {}, { cause })
    : new ServiceFailure('VALIDATION_FAILED', message, { errors: [{ field: 'content', rule, message }] })
}

const overloaded = (reason: string) => new ServiceFailure('OVERLOADED', 'Too many contents are being sanitized.',
  { retryAfterSeconds: 1 }, { cause: new Error(reason) })

/**
 * Threads of their own for content that a client waits for: queued behind jobs it would wait for minutes, and on the
 * event loop a hostile content would hold up every client. The threads start with the first content and end after a
 * minute without one.
 */
export const createSanitizePool = ({
  threads, waitingMax, timeoutMs, schedule, entry = new URL('../threads/sanitize-thread.ts', import.meta.url)
}: SanitizePoolNeeds): SanitizePool => {
  const { use, close } = createThreads({ entry, threads, schedule })

  const run = (input: SanitizeInput, signal: AbortSignal): Promise<ThreadResult<Sanitized>> => use(async threads => {
    // Not Piscina's maxQueue: its error has no code, and would have to be recognized by its message.
    if (threads.queueSize >= waitingMax) throw overloaded(`${waitingMax} contents wait for a thread`)
    try {
      return await threads.run(input, { name: 'runSanitize', signal }) as ThreadResult<Sanitized>
    } catch (error) {
      throw signal.aborted ? signal.reason : crashed(error instanceof Error ? error.name : 'unknown')
    }
  })

  return {
    sanitizeNow: async (input, signal) => {
      const late = AbortSignal.timeout(timeoutMs)
      try {
        return toOutput(await run(input, AbortSignal.any([signal, late])))
      } catch (error) {
        if (late.aborted && error === late.reason) throw overloaded(`sanitizing took more than ${timeoutMs} ms`)
        throw error instanceof ProcessorError ? toSanitizeFailure(error) : error
      }
    },
    close
  }
}
