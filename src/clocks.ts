import type { Schedule } from './schedule.ts'

/*
 * The clocks and timers of the process. The parts get them as needs, so that a test can use its own.
 */

/** ms since 1970. */
export const now = () => Date.now()

/** ms of a clock that only goes forward. */
export const monotonicNow = () => performance.now()

/**
 * ms that the thread has worked. Before Node 23.9 a thread cannot read its own CPU time; there, waits for the disk and
 * for a core count as work.
 */
export const busyMs = 'threadCpuUsage' in process
  ? () => { const { user, system } = process.threadCpuUsage(); return (user + system) / 1000 }
  : () => monotonicNow() - performance.nodeTiming.idleTime

export const schedule: Schedule = (work, ms) => {
  const timer = setTimeout(work, ms)
  return { cancel: () => { clearTimeout(timer) } }
}
