import type { Schedule, Timer } from '../schedule.ts'

/*
 * When streams are pinged. Those that were opened within the same quarter of a second are pinged together: with a timer
 * each, 10,000 streams would wake an idle process for every one of their pings, which costs more than the ping.
 */

// Many proxies cut a connection that is idle for 20 s or longer.
const pingMs = 15_000
const tickMs = 250

/** Calls back within 15 s, and every 15 s from then on, until cancelled. */
export type SchedulePings = (ping: () => void) => Timer

export const createSchedulePings = (schedule: Schedule): SchedulePings => {
  const slots = Array.from({ length: pingMs / tickMs }, () => new Set<() => void>())
  let at = 0
  let count = 0
  let timer: Timer | null = null

  const tick = (): void => {
    timer = schedule(tick, tickMs)
    at = (at + 1) % slots.length
    for (const ping of slots[at] ?? []) ping()
  }

  return ping => {
    // Its turn has just been: the next one is a whole round away.
    const slot = slots[at]
    slot?.add(ping)
    count += 1
    timer ??= schedule(tick, tickMs)
    return {
      cancel: () => {
        if (slot?.delete(ping) !== true) return
        count -= 1
        if (count > 0) return
        timer?.cancel()
        timer = null
      }
    }
  }
}
