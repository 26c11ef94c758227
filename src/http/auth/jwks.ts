import { createLocalJWKSet, type CryptoKey, errors as joseErrors, type JSONWebKeySet } from 'jose'

/** What a token says of the key that it is signed with. */
export type KeyHeader = { alg: string, kid?: string }

/**
 * Finds the key that a token names. Throws JWKSNoMatchingKey, JWKSMultipleMatchingKeys or JOSENotSupported where that is
 * the token's fault; anything else: it cannot be told right now.
 */
export type FindKey = (header: KeyHeader) => Promise<CryptoKey>

export type JwksNeeds = {
  url: URL
  /** ms since 1970. */
  now: () => number
  /** The keys are not those of before. */
  onChange: () => void
}

const timeoutMs = 3000
/** After this time a set is read again before it is used. */
const freshMs = 600_000
/** A key that is not in a set read so long ago may have come since. */
const completeMs = 30_000
/** How long the server is left alone after it has failed. */
const pauseMs = 5000
/** For so long after it has failed nobody waits for it whose key is known. */
const awayMs = 30_000
/** How long after its time a set is used that cannot be read again. */
const outageMs = 3_600_000

const fetchSet = async (url: URL): Promise<JSONWebKeySet> => {
  const response = await fetch(url, {
    redirect: 'manual',
    headers: { accept: 'application/json, application/jwk-set+json' },
    signal: AbortSignal.timeout(timeoutMs)
  })
  if (response.status === 200) return await response.json() as JSONWebKeySet
  await response.body?.cancel()
  throw new Error(`the server of the keys answered ${response.status}`)
}

/*
 * A set of keys that is read over HTTP when a token needs it, once for all who need it at the same time. jose's own remote
 * set knows no pause after a failure and no outage: it asks again for every token, and has no keys while nobody answers.
 */
export const createJwks = ({ url, now, onChange }: JwksNeeds): FindKey => {
  let set = { find: createLocalJWKSet({ keys: [] }), text: '', readAt: -Infinity }
  let failure: { at: number, cause: unknown } = { at: -Infinity, cause: null }
  let reading: Promise<void> | null = null

  // In both directions: a clock can be set back.
  const isWithin = (at: number, ms: number): boolean => Math.abs(now() - at) < ms

  const read = async (): Promise<void> => {
    try {
      const keys = await fetchSet(url)
      const next = { find: createLocalJWKSet(keys), text: JSON.stringify(keys), readAt: now() }
      const isChanged = next.text !== set.text
      set = next
      if (isChanged) onChange()
    } catch (cause) {
      failure = { at: now(), cause }
    }
  }

  const refresh = async (): Promise<void> => {
    if (reading === null && isWithin(failure.at, pauseMs)) return
    reading ??= read().finally(() => { reading = null })
    await reading
  }

  const isUsable = (): boolean => isWithin(set.readAt, freshMs + (isWithin(failure.at, awayMs) ? outageMs : 0))

  const away = () => new Error('the keys cannot be read', { cause: failure.cause })

  return async header => {
    if (!isWithin(set.readAt, freshMs)) {
      const refreshed = refresh()
      if (!isUsable()) await refreshed
      if (!isUsable()) throw away()
    }
    try {
      return await set.find(header)
    } catch (error) {
      if (!(error instanceof joseErrors.JWKSNoMatchingKey) || isWithin(set.readAt, completeMs)) throw error
    }
    await refresh()
    if (!isWithin(set.readAt, completeMs)) throw away()
    return await set.find(header)
  }
}
