import { LRUCache } from 'lru-cache'
import { ServiceFailure } from '../../errors.ts'
import type { Principal } from '../auth/principal.ts'

/*
 * A token bucket for each subject: it holds the requests of one minute and refills evenly. A subject that has emptied
 * it waits for the share of one request, not for the end of a window, at which all clients would return at once.
 *
 * The buckets are in the process, not in Redis: a poll would cost a second command, and without Redis all requests
 * would have to be rejected or none limited. So each process has its own.
 */

const minuteMs = 60_000
const retryAfterSecondsMax = 5
// A refill in parts may sum up to a little less than one request.
const rounding = 1e-6
// An evicted subject has a full bucket again: this many others have sent requests since its last one.
const subjectsMax = 100_000

export type RateLimitNeeds = {
  perMinute: number
  /** ms of a clock that only goes forward. */
  now: () => number
  /** Called when requests of a subject begin to be rejected, and again only after a minute without rejections. */
  onLimited: (principal: Principal) => void
}

/** `draw` takes one request from the bucket of the principal's subject. Throws RATE_LIMITED if it is empty. */
export type RateLimit = { draw: (principal: Principal) => void }

type Bucket = {
  /** Requests drawn and not refilled yet, as of `at`. */
  drawn: number
  at: number
  rejectedAt: number
}

// The length keeps a tenant's end apart from a subject's beginning.
const keyOf = ({ tenant, subject }: Principal): string => `${tenant.length}:${tenant}${subject}`

export const createRateLimit = ({ perMinute, now, onLimited }: RateLimitNeeds): RateLimit => {
  const buckets = new LRUCache<string, Bucket>({ max: subjectsMax })
  const perMs = perMinute / minuteMs

  const find = (principal: Principal, at: number): Bucket => {
    const key = keyOf(principal)
    const known = buckets.get(key)
    if (known !== undefined) return known
    const bucket = { drawn: 0, at, rejectedAt: -Infinity }
    buckets.set(key, bucket)
    return bucket
  }

  return {
    draw: principal => {
      const at = now()
      const bucket = find(principal, at)
      const drawn = Math.max(0, bucket.drawn - (at - bucket.at) * perMs)
      bucket.at = at
      const isRejected = drawn + 1 > perMinute + rounding
      bucket.drawn = isRejected ? drawn : drawn + 1
      if (!isRejected) return
      if (at - bucket.rejectedAt > minuteMs) onLimited(principal)
      bucket.rejectedAt = at
      const waitMs = (drawn + 1 - perMinute) / perMs
      throw new ServiceFailure('RATE_LIMITED', `This subject may send at most ${perMinute} requests per minute.`, {
        retryAfterSeconds: Math.min(retryAfterSecondsMax, Math.ceil(waitMs / 1000))
      })
    }
  }
}
