import type { Piscina } from 'piscina'
import { openThreads } from '../threads/open-threads.ts'
import { crashed, type ThreadResult, toOutput } from '../threads/thread-result.ts'
import { ProcessorError } from '../processor.ts'
import type { Sanitized } from './sanitize.ts'
import type { SanitizeInput } from '../../job/sanitize-input.ts'

/** Nothing is wrong with the content: there is no room for it now, or it took too long. */
export class SanitizeOverloaded extends Error {
  override readonly name = 'SanitizeOverloaded'
}

export type SanitizePool = {
  /**
   * Sanitizes in a thread. Rejects with the ProcessorError of `sanitize`, with a retryable PROCESSOR_CRASHED if the thread
   * died, with SanitizeOverloaded, or with the reason of an aborted `signal`. A thread whose work nobody waits for any
   * more is ended.
   */
  sanitize: (input: SanitizeInput, signal?: AbortSignal) => Promise<Sanitized>
  /** Ends every thread; what is under way rejects with PROCESSOR_CRASHED, as does what comes later. */
  close: () => Promise<void>
}

export type SanitizePoolNeeds = {
  /** Contents at once. */
  threads: number
  /** Contents that may wait for a thread; more are refused. */
  waitingMax: number
  /** From the call to its answer, waiting included. */
  timeoutMs: number
  /** The module that exports `runSanitize`. */
  entry?: URL
}

/**
 * Threads of their own for contents that someone waits for: behind long jobs they would wait as long, and on the event loop
 * a hostile one would hold up everybody. The threads start with the first content and stay.
 */
export const createSanitizePool = ({
  threads, waitingMax, timeoutMs, entry = new URL('../threads/sanitize-thread.ts', import.meta.url)
}: SanitizePoolNeeds): SanitizePool => {
  let piscina: Piscina | undefined
  let isClosed = false
  let underWay = 0

  const run = async (input: SanitizeInput, given: AbortSignal | undefined): Promise<Sanitized> => {
    const late = new AbortController()
    const signal = given === undefined ? late.signal : AbortSignal.any([given, late.signal])
    const timer = setTimeout(() => { late.abort(new SanitizeOverloaded(`Sanitizing took more than ${timeoutMs} ms.`)) }, timeoutMs)
    try {
      piscina ??= openThreads(entry, threads)
      return toOutput(await piscina.run(input, { name: 'runSanitize', signal }) as ThreadResult<Sanitized>)
    } catch (error) {
      if (error instanceof ProcessorError) throw error
      if (signal.aborted) throw signal.reason
      throw crashed(error instanceof Error ? error.name : 'unknown')
    } finally {
      clearTimeout(timer)
    }
  }

  return {
    sanitize: async (input, signal) => {
      if (isClosed) throw crashed('closed')
      if (underWay >= threads + waitingMax) throw new SanitizeOverloaded(`${underWay} contents are being sanitized.`)
      underWay++
      return await run(input, signal).finally(() => { underWay-- })
    },
    close: async () => {
      isClosed = true
      await piscina?.destroy()
    }
  }
}
