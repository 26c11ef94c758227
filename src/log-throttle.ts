import { LRUCache } from 'lru-cache'
import type { Schedule, Timer } from './schedule.ts'

/*
 * Which occurrences of the same subject are logged.
 *
 * createLogThrottle is for failures of the service, which metrics and /readyz show while they last: each is logged when it
 * begins, and not again until it has been away for a minute. createCountedThrottle is for what clients do: only the log
 * names the client, so one that goes on and on is logged again each minute, and what is left out is counted.
 */

const intervalMs = 60_000
const subjectsMax = 1000

export type CountedThrottleNeeds = {
  /** ms of a clock that only goes forward. */
  now: () => number
  schedule: Schedule
  /** Called at the end of a minute with the number of occurrences of each kind that were not logged. */
  onRest: (counts: Record<string, number>) => void
}

/**
 * Returns `shouldLog`: true for the first occurrence of a subject in each minute. All others are counted by their kind.
 * `close` reports what was counted so far.
 */
export const createCountedThrottle = ({ now, schedule, onRest }: CountedThrottleNeeds) => {
  const loggedAt = new LRUCache<string, number>({ max: subjectsMax })
  let counts: Record<string, number> = {}
  let timer: Timer | null = null

  const close = (): void => {
    timer?.cancel()
    timer = null
    const rest = counts
    counts = {}
    if (Object.keys(rest).length > 0) onRest(rest)
  }

  return {
    shouldLog: (kind: string, subject: string): boolean => {
      const key = `${kind} ${subject}`
      const at = now()
      if (at - (loggedAt.get(key) ?? -Infinity) >= intervalMs) {
        loggedAt.set(key, at)
        return true
      }
      counts[kind] = (counts[kind] ?? 0) + 1
      timer ??= schedule(close, intervalMs)
      return false
    },
    close
  }
}

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
