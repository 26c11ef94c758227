import { LRUCache } from 'lru-cache'

const intervalMs = 60_000
const subjectsMax = 1000

/**
 * Returns `shouldLog`: false if the same subject occurred within the last minute, so that a lasting failure is logged
 * once. `now` in ms of a clock that only goes forward.
 */
export const createLogThrottle = (now: () => number): ((subject: string) => boolean) => {
  const lastAt = new LRUCache<string, number>({ max: subjectsMax })
  return subject => {
    const at = now()
    const last = lastAt.get(subject) ?? -Infinity
    lastAt.set(subject, at)
    return at - last > intervalMs
  }
}
