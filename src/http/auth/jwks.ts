import {
  createLocalJWKSet, type CryptoKey, errors as joseErrors, type JSONWebKeySet, type JWSHeaderParameters
} from 'jose'

export type KeySet = {
  /**
   * The key that the header of a token names. Throws JWKSNoMatchingKey, JWKSMultipleMatchingKeys (which has the keys)
   * or JOSENotSupported if the token is at fault; any other error: the set cannot be read.
   */
  find: (header: JWSHeaderParameters) => Promise<CryptoKey>
  /** Reads the set again, unless that was done a moment ago. Returns whether its keys changed. */
  readAgain: () => Promise<boolean>
}

export type JwksNeeds = {
  /** ms since 1970. */
  now: () => number
  /** The keys of the set have changed. */
  onChange: () => void
}

const timeoutMs = 3000
/** After this time a set is read again before it is used. */
const freshMs = 600_000
/**
 * A set that is older may lack a key that was added since. Tokens with unknown keys cause no more
 * than one fetch in this time, and a new key is known after at most as long.
 */
const completeMs = 3000
/** After a failed fetch the server is not asked for this long. */
const pauseMs = 3000
/** After a failed fetch, tokens with a known key do not wait for the next one for this long. */
const awayMs = 30_000
/** How long a set is used after its time while it cannot be read again. */
const outageMs = 3_600_000

// The two names of one algorithm (RFC 8037, RFC 9864): a key may have one, and a token the other.
const edwardsNames: ReadonlyMap<unknown, string> = new Map([['EdDSA', 'Ed25519'], ['Ed25519', 'EdDSA']])

const fetchSet = async (url: URL): Promise<JSONWebKeySet> => {
  const response = await fetch(url, {
    redirect: 'manual',
    headers: { accept: 'application/json, application/jwk-set+json' },
    signal: AbortSignal.timeout(timeoutMs)
  })
  if (response.status === 200) return await response.json() as JSONWebKeySet
  await response.body?.cancel()
  throw new Error(`the key server responded with ${response.status}`)
}

/**
 * A key set that is fetched when a token needs it, once for all tokens that need it at the same time (RFC 7517).
 * jose's remote set has no pause after a failure and no use of a stale set: with `customFetch` and `reload()` around
 * it, freshness, pause and outage would be kept here all the same, beside its own copy of them.
 */
export const createJwks = (url: URL, { now, onChange }: JwksNeeds): KeySet => {
  let set = { find: createLocalJWKSet({ keys: [] }), text: '', readAt: -Infinity }
  let failure: { at: number, cause: unknown } = { at: -Infinity, cause: null }
  let reading: Promise<void> | null = null

  // In both directions: the clock may be set back.
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

  const unreadable = () => new Error('the key set cannot be read', { cause: failure.cause })

  const findInSet = async (header: JWSHeaderParameters): Promise<CryptoKey> => {
    try {
      return await set.find(header)
    } catch (error) {
      const otherName = edwardsNames.get(header.alg)
      if (!(error instanceof joseErrors.JWKSNoMatchingKey) || otherName === undefined) throw error
      return await set.find({ ...header, alg: otherName })
    }
  }

  const find: KeySet['find'] = async header => {
    if (!isWithin(set.readAt, freshMs)) {
      const refreshed = refresh()
      if (!isUsable()) await refreshed
      if (!isUsable()) throw unreadable()
    }
    try {
      return await findInSet(header)
    } catch (error) {
      if (!(error instanceof joseErrors.JWKSNoMatchingKey) || isWithin(set.readAt, completeMs)) throw error
    }
    await refresh()
    if (!isWithin(set.readAt, completeMs)) throw unreadable()
    return await findInSet(header)
  }

  const readAgain: KeySet['readAgain'] = async () => {
    const { text, readAt } = set
    if (!isWithin(readAt, completeMs)) await refresh()
    return set.text !== text
  }

  return { find, readAgain }
}
