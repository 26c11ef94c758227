/** `waiting`: for the end of the job. `pending`: a try is due or under way. `failed`: there will be no further try. */
export const callbackStates = ['waiting', 'pending', 'delivered', 'failed'] as const
export type CallbackState = typeof callbackStates[number]

/** URLs that are called at the end of one job. */
export const callbacksMax = 5

/**
 * A URL that is called when its job has ended. `tenant` is that of the submission. `tries` have ended; `lastError` says
 * why the last of them failed. While a try is under way `nextTryAt` is when another process would try, if this one
 * were killed. Times in ms since 1970.
 */
export type Callback = {
  id: string
  jobId: string
  tenant: string
  url: string
  state: CallbackState
  tries: number
  lastStatus: number | null
  lastError: string | null
  lastTriedAt: number | null
  nextTryAt: number | null
}

const idPrefix = 'cb_'

/** The id of a callback, made of a random text. */
export const toCallbackId = (random: string): string => `${idPrefix}${random}`

/** Whether a text can be the id of a callback. One that cannot, like a NUL, may be none that the store can look for. */
export const isCallbackId = (text: string): boolean => text.startsWith(idPrefix) && /^[\w-]+$/.test(text)

/** Where callbacks wait for a try: those of one tenant to one host. */
export type CallbackQueue = { host: string, tenant: string }

/** How a try ended. `isFinal`: the receiver wants no further one. `retryAfterMs`: how long it wants to be left alone. */
export type TryOutcome =
  | { kind: 'delivered', status: number }
  | { kind: 'failed', status: number | null, error: string, retryAfterMs: number, isFinal: boolean }

const seconds = [0, 1, 2, 4, 8, 15, 30, 60, 5 * 60, 30 * 60, 2 * 3600, 6 * 3600, 24 * 3600]

/** How many tries a delivery has. */
export const triesMax = seconds.length

const jitter = 0.1
const retryAfterMsMax = 3_600_000

/**
 * The pause between the end of the last of `tries` and the next one, in ms; null: there is none. `random` in [0, 1)
 * spreads it by a tenth to both sides, so that receivers that failed together are not called together.
 */
export const pauseBeforeNextTry = (tries: number, random: number, retryAfterMs = 0): number | null => {
  const pause = seconds[tries]
  if (pause === undefined) return null
  const spread = 1 + jitter * (2 * random - 1)
  return Math.round(Math.max(pause * 1000 * spread, Math.min(retryAfterMs, retryAfterMsMax)))
}

/** What is recorded of a try. */
export type Settled = Pick<Callback, 'state' | 'tries' | 'lastStatus' | 'lastError' | 'lastTriedAt' | 'nextTryAt'>

/**
 * What a callback becomes by a try that ended at `at`, after the `tries` before it. `stateBefore`: the final state from
 * which a client asked for this one try; it stays that if the try fails.
 */
export const settle = (
  { tries: before, stateBefore }: { tries: number, stateBefore: CallbackState | null },
  outcome: TryOutcome, at: number, random: number
): Settled => {
  const tries = before + 1
  const common = { tries, lastStatus: outcome.status, lastTriedAt: at }
  if (outcome.kind === 'delivered') return { ...common, state: 'delivered', lastError: null, nextTryAt: null }
  const { error: lastError, retryAfterMs, isFinal } = outcome
  const pause = isFinal || stateBefore !== null ? null : pauseBeforeNextTry(tries, random, retryAfterMs)
  if (pause !== null) return { ...common, state: 'pending', lastError, nextTryAt: at + pause }
  return { ...common, state: isFinal ? 'failed' : stateBefore ?? 'failed', lastError, nextTryAt: null }
}
