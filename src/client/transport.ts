import { JobServiceError, toError } from './errors.ts'
import type { Platform } from './platform.ts'

/*
 * Requests that survive what happens on the way: connections that are cut, a service that restarts or is overloaded.
 * Each request of the client may be repeated: reads, and commands whose repetition changes nothing. (A claim whose
 * answer was lost costs its job the time of a lease.)
 */

/** A bearer token, or a function that returns one; it is called for each request, so it can renew the token. */
export type Token = string | (() => string | Promise<string>)

export type Transport = { base: string, token: Token | undefined, patienceMs: number, platform: Platform }

/** `patienceMs`: in place of that of the client. */
export type CallOptions = { signal?: AbortSignal | undefined, patienceMs?: number }

export type Request = {
  method?: string
  headers?: Record<string, string>
  body?: string | Uint8Array<ArrayBuffer> | undefined
  signal?: AbortSignal | undefined
  /** How long the response may take to begin. */
  deadlineMs?: number
}

export type Answer = { status: number, headers: Headers, text: string }

/** A response; `text` is empty where its body is left to the caller. */
type Received = { answer: Response, text: string }

export const deadlineMsDefault = 15_000
const textMsMax = 60_000
const backoffMsMin = 250
const backoffMsMax = 10_000
const hintMsMax = 3_600_000

export const isRetriable = (status: number): boolean => [408, 429, 502, 503, 504].includes(status)

/** Whether the same request may succeed later. An error of the caller's token function may be such a one. */
export const isTransient = (error: unknown): boolean =>
  !(error instanceof JobServiceError) || error.code === 'UNREACHABLE' || isRetriable(error.status)

/** The time after which the service wants the next request, in ms; 0: it does not say. */
export const hintOf = (headers: Headers): number => {
  const hint = Number(headers.get('retry-after-ms')) || Number(headers.get('retry-after')) * 1000
  return hint > 0 ? Math.min(hint, hintMsMax) : 0
}

/** What a controller aborts, and a signal until `unlink`. */
export type Linked = Pick<AbortController, 'abort' | 'signal'> & { unlink: () => void }

/**
 * A controller that the signal of a caller aborts too. Not AbortSignal.any: what that makes stays with the signal, some
 * 400 bytes on Node 24 and 1,200 on Node 20, and a signal may live as long as a worker.
 */
export const link = (signal: AbortSignal | undefined): Linked => {
  const controller = new AbortController()
  const abort = (): void => { controller.abort(signal?.reason) }
  if (signal?.aborted === true) abort()
  signal?.addEventListener('abort', abort, { once: true })
  return {
    signal: controller.signal,
    abort: reason => { controller.abort(reason) },
    unlink: () => { signal?.removeEventListener('abort', abort) }
  }
}

/**
 * Waits between the tries of a call, ever longer, and at least as long as the service says. Throws the error when
 * nothing has been answered for `patienceMs`, or will not be for longer than that.
 */
export const createRetry = ({ patienceMs, platform: { now, random, sleep } }: Transport) => {
  let since: number | null = null
  let tries = 0
  return {
    answered: (): void => { [since, tries] = [null, 0] },
    failed: async (error: unknown, signal: AbortSignal | undefined, pauseMsMin = 0): Promise<void> => {
      signal?.throwIfAborted()
      since ??= now()
      const hintMs = error instanceof JobServiceError ? error.retryAfterMs : 0
      if (now() - since >= patienceMs || hintMs > patienceMs) throw error
      const ceiling = Math.min(backoffMsMax, backoffMsMin * 2 ** tries++)
      await sleep(Math.max(hintMs, pauseMsMin) + ceiling * (0.5 + random() / 2), signal)
    }
  }
}

/** Sends a request with this token. `isOpen`: the body of a good response is left to the caller. */
const sendOnce = async (
  { base, platform }: Transport, path: string, request: Request, isOpen: boolean, bearer: string | undefined
): Promise<Received> => {
  const { signal, deadlineMs = deadlineMsDefault, headers, body, method = 'GET' } = request
  const own = link(signal)
  const startTimer = (ms: number) => setTimeout(() => { own.abort(new Error('no answer in time')) }, ms)
  let timer = startTimer(deadlineMs)
  let isRead = true
  try {
    const answer = await platform.fetch(base + path, {
      method,
      headers: { accept: 'application/json', ...bearer === undefined ? {} : { authorization: `Bearer ${bearer}` }, ...headers },
      ...body === undefined ? {} : { body },
      signal: own.signal
    })
    isRead = !isOpen || !answer.ok
    if (!isRead) return { answer, text: '' }
    clearTimeout(timer)
    timer = startTimer(textMsMax)
    return { answer, text: await answer.text() }
  } catch (cause) {
    signal?.throwIfAborted()
    throw new JobServiceError('UNREACHABLE', `${base || 'the service'} cannot be reached`, { cause })
  } finally {
    clearTimeout(timer)
    if (isRead) own.unlink()
  }
}

/** Sends a request once. Throws UNREACHABLE, and the reason of the signal. */
export const send = async (transport: Transport, path: string, request: Request, isOpen = false): Promise<Received> => {
  const { token } = transport
  const findToken = async () => typeof token === 'function' ? await token() : token
  const bearer = await findToken()
  const received = await sendOnce(transport, path, request, isOpen, bearer)
  if (received.answer.status !== 401) return received
  // The token may have expired while the request waited.
  const renewed = await findToken()
  return renewed === bearer ? received : await sendOnce(transport, path, request, isOpen, renewed)
}

const receive = async (transport: Transport, path: string, request: Request, isOpen: boolean): Promise<Received> => {
  const retry = createRetry(transport)
  for (;;) {
    let failure: unknown
    try {
      const received = await send(transport, path, request, isOpen)
      const { answer: { ok, status, headers }, text } = received
      if (ok) return received
      failure = toError(status, text, hintOf(headers))
    } catch (error) {
      failure = error
    }
    if (!isTransient(failure)) throw failure
    await retry.failed(failure, request.signal)
  }
}

/** Sends a request until it is answered, and returns the response without its body read. Throws what the service says. */
export const open = async (transport: Transport, path: string, request: Request): Promise<Response> =>
  (await receive(transport, path, request, true)).answer

/** Sends a request until it is answered. Throws what the service says. */
export const ask = async (transport: Transport, path: string, request: Request = {}): Promise<Answer> => {
  const { answer: { status, headers }, text } = await receive(transport, path, request, false)
  return { status, headers, text }
}
