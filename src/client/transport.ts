import { JobServiceError, toError } from './errors.ts'
import type { Platform } from './platform.ts'

/*
 * Requests that survive what happens on the way: connections that are cut, a service that restarts or is overloaded.
 * Each request of the client may be repeated: reads, and commands whose repetition changes nothing.
 */

/** A bearer token, or a function that returns one; it is called for each request, so it can renew the token. */
export type Token = string | (() => string | Promise<string>)

export type Transport = { base: string, token: Token | undefined, patienceMs: number, platform: Platform }

export type Request = {
  method?: string
  headers?: Record<string, string>
  body?: string | Uint8Array<ArrayBuffer> | undefined
  signal?: AbortSignal | undefined
  /** How long the response may take to begin. */
  deadlineMs?: number
}

export type Answer = { status: number, headers: Headers, text: string }

const deadlineMsDefault = 15_000
const backoffMsMin = 250
const backoffMsMax = 10_000
const hintMsMax = 3_600_000

const isRetriable = (status: number): boolean => [408, 429, 502, 503, 504].includes(status)

/** The time after which the service wants the next request, in ms; 0: it does not say. */
export const hintOf = (headers: Headers): number => {
  const ms = Number(headers.get('retry-after-ms') ?? NaN)
  const seconds = Number(headers.get('retry-after') ?? 0)
  const hint = Number.isFinite(ms) ? ms : seconds * 1000
  return hint > 0 ? Math.min(hint, hintMsMax) : 0
}

/** Waits between the tries of a call, ever longer; gives up when nothing has been answered for `patienceMs`. */
export const createRetry = ({ patienceMs, platform: { now, random, sleep } }: Transport) => {
  let since: number | null = null
  let tries = 0
  return {
    answered: (): void => { [since, tries] = [null, 0] },
    failed: async (error: unknown, hintMs: number, signal: AbortSignal | undefined): Promise<void> => {
      signal?.throwIfAborted()
      since ??= now()
      // A clock of its own accord: the next try might come too late.
      if (now() - since >= patienceMs) throw error
      const ceiling = Math.min(backoffMsMax, backoffMsMin * 2 ** tries++)
      await sleep(hintMs + ceiling * (0.5 + random() / 2), signal)
    }
  }
}

/**
 * Sends a request once, with a token. `isStream`: the caller reads the body. Throws UNREACHABLE, and the reason of the
 * signal.
 */
const send = async (
  { base, token, platform }: Transport, path: string, request: Request, isFresh = false
): Promise<Response> => {
  const { signal, deadlineMs = deadlineMsDefault, headers, body, method = 'GET' } = request
  const bearer = typeof token === 'function' ? await token() : token
  const controller = new AbortController()
  const timer = setTimeout(() => { controller.abort(new Error('no answer in time')) }, deadlineMs)
  try {
    const answer = await platform.fetch(base + path, {
      method,
      headers: { accept: 'application/json', ...bearer === undefined ? {} : { authorization: `Bearer ${bearer}` }, ...headers },
      ...body === undefined ? {} : { body },
      signal: signal === undefined ? controller.signal : AbortSignal.any([signal, controller.signal])
    })
    // The token may have expired while the request waited.
    if (answer.status !== 401 || typeof token !== 'function' || isFresh) return answer
    await answer.body?.cancel()
  } catch (cause) {
    signal?.throwIfAborted()
    throw new JobServiceError('UNREACHABLE', `${base} cannot be reached`, { cause })
  } finally {
    clearTimeout(timer)
  }
  return await send({ base, token, patienceMs: 0, platform }, path, request, true)
}

/** Sends a request until it is answered, and returns the response without its body read. Throws what the service says. */
export const open = async (transport: Transport, path: string, request: Request): Promise<Response> => {
  const retry = createRetry(transport)
  for (;;) {
    let failure: [error: unknown, hintMs: number]
    try {
      const answer = await send(transport, path, request)
      if (answer.ok) return answer
      const error = toError(answer.status, await answer.text())
      if (!isRetriable(answer.status)) throw error
      failure = [error, hintOf(answer.headers)]
    } catch (error) {
      if (error instanceof JobServiceError && error.code !== 'UNREACHABLE') throw error
      failure = [error, 0]
    }
    await retry.failed(...failure, request.signal)
  }
}

/** Sends a request until it is answered. Throws what the service says. */
export const ask = async (transport: Transport, path: string, request: Request = {}): Promise<Answer> => {
  const answer = await open(transport, path, request)
  return { status: answer.status, headers: answer.headers, text: await answer.text() }
}

/** The pause between two polls where the service names none. */
export const pollMsDefault = 1000

const waitSecondsMax = 55
const waitSecondsMin = 5
// A connection that ends sooner was not cut because it was idle.
const cutMsMin = 1000

/** What a long poll was answered with; `hasWaited`: the service held it as long as it was allowed to. */
export type Polled = Answer & { hasWaited: boolean, granted: boolean }

/**
 * Sends requests that the service holds back until there is something to say. Where a connection was cut meanwhile, the
 * next one asks for half the time: something on the way ends idle connections. `toRequest` gets the seconds to wait.
 */
export const createLongPoll = (transport: Transport) => {
  const { now } = transport.platform
  let seconds = waitSecondsMax
  return async (
    signal: AbortSignal | undefined, toRequest: (seconds: number) => Request & { path: string }
  ): Promise<Polled> => {
    const retry = createRetry(transport)
    for (;;) {
      const { path, ...request } = toRequest(Math.floor(seconds))
      const beganAt = now()
      let failure: [error: unknown, hintMs: number] | undefined
      let isCut = true
      try {
        const answer = await send(transport, path, {
          ...request, signal, deadlineMs: seconds * 1000 + deadlineMsDefault
        })
        const { status, headers } = answer
        const text = await answer.text()
        if (!isRetriable(status)) {
          const applied = Number(/wait=(\d+)/.exec(headers.get('preference-applied') ?? '')?.[1] ?? 0)
          const hasWaited = applied > 0 && now() - beganAt >= applied * 1000 - 500
          return { status, headers, text, hasWaited, granted: applied > 0 }
        }
        isCut = status === 502 || status === 504
        failure = [toError(status, text), hintOf(headers)]
      } catch (error) {
        failure = [error, 0]
      }
      if (isCut && now() - beganAt >= cutMsMin) seconds = Math.max(waitSecondsMin, seconds / 2)
      await retry.failed(...failure, signal)
    }
  }
}
