import { LRUCache } from 'lru-cache'

const quietMs = 60_000
const subjectsMax = 1000

/**
 * Whether something is worth a line in the log: not if the same was met within the last minute, for what goes on is told
 * once. `now` in ms, of a clock that only goes forward.
 */
export const createLogThrottle = (now: () => number): ((subject: string) => boolean) => {
  const metAt = new LRUCache<string, number>({ max: subjectsMax })
  return subject => {
    const at = now()
    const last = metAt.get(subject) ?? -Infinity
    metAt.set(subject, at)
    return at - last > quietMs
  }
}
