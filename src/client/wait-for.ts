import { parse, toError } from './errors.ts'
import { createLongPoll, pollMsDefault } from './long-poll.ts'
import type { components } from './openapi.ts'
import { type CallOptions, hintOf, type Transport } from './transport.ts'

/** A job, as the task view shows it. */
export type Task = components['schemas']['TaskStatus']['data']

/** `onProgress` is called with the first state and with each newer one, but for the last, which is returned. */
export type WaitOptions = CallOptions & { onProgress?: (task: Task) => void }

// Between two states of a job that changes all the time.
const changeMsMin = 200

/** The path of a job in the task view. */
export const taskPath = (jobId: string, rest: string): string => `/api/jobs/${encodeURIComponent(jobId)}${rest}`

/**
 * Resolves with the final state of a job. The service holds the request until then; where it does not, or something on
 * the way does not let it, the client polls as the service asks it to.
 */
export const waitFor = async (
  transport: Transport, jobId: string, { signal, onProgress }: WaitOptions
): Promise<Task> => {
  const { random, sleep } = transport.platform
  const poll = createLongPoll(transport)
  let eTag: string | null = null
  // The first state is wanted at once where there is someone to see it.
  let isHeld = onProgress === undefined
  for (;;) {
    const answer = await poll(signal, seconds => ({
      path: taskPath(jobId, `/status${isHeld ? `?wait=${seconds}` : ''}`),
      headers: onProgress === undefined || eTag === null ? {} : { 'if-none-match': eTag }
    }))
    const { status, headers, text, hasWaited, granted } = answer
    if (status !== 200 && status !== 304) throw toError(status, text)
    if (status === 200) {
      const { data } = parse<components['schemas']['TaskStatus']>(answer)
      if (data.isTerminal) return data
      onProgress?.(data)
      eTag = headers.get('etag')
    }
    if (!isHeld || hasWaited) {
      isHeld = true
      continue
    }
    const hasChanged = granted && onProgress !== undefined && status === 200
    await sleep(hasChanged ? changeMsMin : (hintOf(headers) || pollMsDefault) * (1 + random() / 4), signal)
  }
}
