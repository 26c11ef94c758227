import { JobServiceError, parse, toError } from '../errors.ts'
import { createLongPoll } from '../long-poll.ts'
import { runJob, type RunNeeds } from './run-job.ts'
import { hintOf, type Transport } from '../transport.ts'
import type { Claim, Handler, Worker, WorkerOptions } from './worker-types.ts'

const refusals: readonly string[] = ['UNAUTHORIZED', 'FORBIDDEN', 'VALIDATION_FAILED']

const pauseMs = 1000

/** Claims jobs of these types and runs each, until it is stopped. */
export const startWorker = (
  transport: Transport, types: readonly string[], handler: Handler, options: WorkerOptions
): Pick<Worker, 'done'> => {
  const { concurrency = 1, leaseSeconds = 30, onError = () => {} } = options
  const { sleep, random } = transport.platform
  const stopping = new AbortController()
  const stop = (): void => { stopping.abort(new Error('the worker stops')) }
  if (options.signal?.aborted === true) stop()
  else options.signal?.addEventListener('abort', stop, { once: true })
  const needs: RunNeeds = { transport, handler, leaseSeconds, stopping: stopping.signal, onError }

  const claimNext = async (poll: ReturnType<typeof createLongPoll>): Promise<Claim | null> => {
    const beganAt = transport.platform.now()
    const answer = await poll(stopping.signal, seconds => ({
      path: '/api/v1/worker/claim',
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ types, leaseSeconds, wait: seconds })
    }))
    const { status, text, headers } = answer
    if (status === 200) return parse<Claim>(answer)
    if (status !== 204) throw toError(status, text)
    // While it drains, the service does not hold a claim.
    if (transport.platform.now() - beganAt < pauseMs) await sleep((hintOf(headers) || pauseMs) * (1 + random()), stopping.signal)
    return null
  }

  const loop = async (): Promise<void> => {
    const poll = createLongPoll(transport)
    while (!stopping.signal.aborted) {
      try {
        const claim = await claimNext(poll)
        if (claim !== null) await runJob(needs, claim)
      } catch (error) {
        if (stopping.signal.aborted) return
        if (error instanceof JobServiceError && refusals.includes(error.code)) throw error
        onError(error)
        await sleep(pauseMs, stopping.signal).catch(() => {})
      }
    }
  }

  return {
    done: Promise.all(Array.from({ length: concurrency }, loop)).then(() => {}).finally(() => {
      stop()
      options.signal?.removeEventListener('abort', stop)
    })
  }
}
