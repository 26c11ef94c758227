import { JobServiceError, toError } from './errors.ts'
import { type Answer, createRetry, deadlineMsDefault, hintOf, isRetriable, type Request, send, type Transport } from './transport.ts'

/*
 * Requests that the service holds back until there is something to say.
 */

/** The pause between two polls where the service names none. */
export const pollMsDefault = 1000

const waitSecondsMax = 55
const waitSecondsMin = 5
// A connection that ends sooner was not cut because it was idle.
const cutMsMin = 1000
// After so many answers in a row it asks for longer again: the cuts may have been restarts.
const answersMin = 20

/** What a long poll was answered with; `hasWaited`: the service held it as long as it was allowed to. */
export type Polled = Answer & { hasWaited: boolean, granted: boolean }

/**
 * Sends requests that the service may hold. `toRequest` gets the seconds to ask for; 0: none. Something on the way that
 * ends idle connections is met by half the time after each cut; where it cuts even the shortest, by polls that are not
 * held.
 */
export const createLongPoll = (transport: Transport) => {
  const { now } = transport.platform
  let seconds = waitSecondsMax
  let cuts = 0
  let answers = 0
  return async (
    signal: AbortSignal | undefined, toRequest: (seconds: number) => Request & { path: string }
  ): Promise<Polled> => {
    const retry = createRetry(transport)
    for (;;) {
      const { path, ...request } = toRequest(Math.floor(seconds))
      const beganAt = now()
      let failure: unknown
      try {
        const { answer: { status, headers }, text } = await send(transport, path, {
          ...request, signal, deadlineMs: seconds * 1000 + deadlineMsDefault
        })
        if (!isRetriable(status)) {
          cuts = 0
          if (++answers % answersMin === 0) seconds = Math.min(waitSecondsMax, Math.max(waitSecondsMin, seconds * 2))
          const applied = Number(/wait=(\d+)/.exec(headers.get('preference-applied') ?? '')?.[1] ?? 0)
          const hasWaited = applied > 0 && now() - beganAt >= applied * 1000 - 500
          return { status, headers, text, hasWaited, granted: applied > 0 }
        }
        failure = toError(status, text, hintOf(headers))
      } catch (error) {
        failure = error
      }
      const isCut = failure instanceof JobServiceError && ![408, 429, 503].includes(failure.status)
      if (isCut && now() - beganAt >= cutMsMin) {
        answers = 0
        if (seconds > waitSecondsMin) seconds = Math.max(waitSecondsMin, seconds / 2)
        else if (++cuts > 1) seconds = 0
      }
      await retry.failed(failure, signal)
    }
  }
}
