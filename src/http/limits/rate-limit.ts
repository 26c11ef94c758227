import { LRUCache } from 'lru-cache'
import { ServiceFailure } from '../../errors.ts'
import type { Principal } from '../auth/principal.ts'

/*
 * How often one subject may ask. Each has an allowance of a minute's requests, which comes back evenly, so that whoever
 * has used it up waits for one request's share of a minute, and not for the minute to end; a window that begins anew
 * would make all wait, and then let all in at once.
 *
 * Allowances are kept in the process, not in Redis: a poll would cost a second command, and with Redis away the choice
 * would be to refuse all or to limit nobody. So every process gives its own.
 */

const minuteMs = 60_000
const retryAfterSecondsMax = 5
// What comes back in parts may sum up to a little less than one.
const rounding = 1e-6
// A subject that is forgotten begins anew: it is one that has not asked for longer than this many others.
const subjectsMax = 100_000

export type RateLimitNeeds = {
  perMinute: number
  /** ms of a clock that only goes forward. */
  now: () => number
  /** Told when a subject begins to be refused, and again only after a minute without refusals of it. */
  onLimited: (principal: Principal) => void
}

/** `draw` takes one request from the allowance of whoever asks. Throws RATE_LIMITED where nothing is left of it. */
export type RateLimit = { draw: (principal: Principal) => void }

type Allowance = {
  /** Requests drawn that have not come back yet, as of `at`. */
  drawn: number
  at: number
  refusedAt: number
}

// The length keeps a tenant's end apart from a subject's beginning.
const keyOf = ({ tenant, subject }: Principal): string => `${tenant.length}:${tenant}${subject}`

export const createRateLimit = ({ perMinute, now, onLimited }: RateLimitNeeds): RateLimit => {
  const allowances = new LRUCache<string, Allowance>({ max: subjectsMax })
  const perMs = perMinute / minuteMs

  const find = (principal: Principal, at: number): Allowance => {
    const key = keyOf(principal)
    const known = allowances.get(key)
    if (known !== undefined) return known
    const allowance = { drawn: 0, at, refusedAt: -Infinity }
    allowances.set(key, allowance)
    return allowance
  }

  return {
    draw: principal => {
      const at = now()
      const allowance = find(principal, at)
      const drawn = Math.max(0, allowance.drawn - (at - allowance.at) * perMs)
      allowance.at = at
      const isRefused = drawn + 1 > perMinute + rounding
      allowance.drawn = isRefused ? drawn : drawn + 1
      if (!isRefused) return
      if (at - allowance.refusedAt > minuteMs) onLimited(principal)
      allowance.refusedAt = at
      const waitMs = (drawn + 1 - perMinute) / perMs
      throw new ServiceFailure('RATE_LIMITED', `At most ${perMinute} requests a minute are answered to one subject.`, {
        retryAfterSeconds: Math.min(retryAfterSecondsMax, Math.ceil(waitMs / 1000))
      })
    }
  }
}
