/*
 * What the client takes from the platform that it runs on, so that a test can use its own.
 */

/** `random` in [0, 1); `now` in ms of a clock that only goes forward. */
export type Platform = {
  fetch: typeof fetch
  now: () => number
  random: () => number
  /** Resolves after some ms; rejects with the reason of the signal once that aborts. */
  sleep: (ms: number, signal?: AbortSignal) => Promise<void>
}

const sleep: Platform['sleep'] = (ms, signal) => new Promise((resolve, reject) => {
  if (signal?.aborted === true) return reject(signal.reason as Error)
  const onAbort = (): void => {
    clearTimeout(timer)
    reject(signal?.reason as Error)
  }
  const timer = setTimeout(() => {
    signal?.removeEventListener('abort', onAbort)
    resolve()
  }, ms)
  signal?.addEventListener('abort', onAbort, { once: true })
})

/** Browsers, Deno and Node. Called as a function: a browser's fetch needs the window as `this`. */
export const platform: Platform = {
  fetch: (...args) => fetch(...args),
  now: () => performance.now(),
  random: () => Math.random(),
  sleep
}
