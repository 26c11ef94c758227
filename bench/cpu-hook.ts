import { readFileSync } from 'node:fs'

/*
 * Loaded by every measured server (`node --import`), so that all servers report their CPU time in the same way: what
 * the process has used so far, as the operating system counts it.
 */

/**
 * A server's reply to the message `cpu`. `cpuMicros` is the user and system time of all its threads, in microseconds.
 */
export type CpuReading = {
  cpuMicros: number
  atMs: number
  /** How long its main thread was ready to run but had no core, in ms; 0 if the system does not report it. */
  waitedMs: number
}

// The file contains two times in nanoseconds: on a core, and waiting for one.
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
// The channel to the parent must not keep a server alive.
process.channel?.unref()
