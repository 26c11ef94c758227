import { readFileSync } from 'node:fs'

/*
 * Loaded first by every server that is measured (`node --import`), so that all are asked in the same way: what CPU time
 * the process has used so far, by its own accounting.
 */

/** What a server answers to the message `cpu`: microseconds of user and system time, of all its threads. */
export type CpuReading = {
  cpuMicros: number
  atMs: number
  /** How long its main thread was ready to run, but others had the cores; 0 where the system does not tell. */
  waitedMs: number
}

// Nanoseconds: on a core, waiting for one.
const readWaitedMs = (): number => {
  try {
    return Number(readFileSync('/proc/self/schedstat', 'utf8').split(' ')[1]) / 1e6
  } catch {
    return 0
  }
}

process.on('message', message => {
  if (message !== 'cpu') return
  const { user, system } = process.cpuUsage()
  const reading: CpuReading = { cpuMicros: user + system, atMs: performance.now(), waitedMs: readWaitedMs() }
  process.send?.(reading)
})
// A server must be able to end by itself.
process.channel?.unref()
