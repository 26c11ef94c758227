import { LRUCache } from 'lru-cache'

const tokensMax = 10_000
const charactersMax = 8 * 1024 * 1024

/**
 * Who was found behind headers that have been verified, so that a poller's token is verified once and not with every
 * poll. It answers for the whole text of the header, and no longer than the token itself is good.
 */
export type TokenMemory<Principal> = {
  find: (header: string) => Principal | undefined
  /** `expiresAt` in ms since 1970. */
  keep: (header: string, principal: Principal, expiresAt: number) => void
  /** For when the keys have changed. */
  clear: () => void
}

/** `now` in ms since 1970; `keptMsMax`: how long a verification may be relied on, however long the token is good. */
export const createTokenMemory = <Principal>({ now, keptMsMax }: { now: () => number, keptMsMax: number }): TokenMemory<Principal> => {
  const tokens = new LRUCache<string, { principal: Principal, until: number }>({
    max: tokensMax,
    maxSize: charactersMax,
    sizeCalculation: (_token, header) => header.length
  })
  return {
    find: header => {
      const token = tokens.get(header)
      if (token === undefined) return undefined
      if (now() < token.until) return token.principal
      tokens.delete(header)
      return undefined
    },
    keep: (header, principal, expiresAt) => {
      tokens.set(header, { principal, until: Math.min(expiresAt, now() + keptMsMax) })
    },
    clear: () => { tokens.clear() }
  }
}
