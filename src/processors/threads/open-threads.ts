import { fileURLToPath } from 'node:url'
import { Piscina } from 'piscina'

/** Threads that run what the module at `entry` exports. They start at once and stay; one that dies is replaced. */
export const openThreads = (entry: URL, threads: number): Piscina => {
  const piscina = new Piscina({
    filename: fileURLToPath(entry),
    // With fewer threads kept than allowed, tasks that wait for one that dies would wait for ever.
    minThreads: threads,
    maxThreads: threads,
    // An idle thread would else block its own event loop, and with it whatever a task left to close.
    atomics: 'disabled',
    recordTiming: false
  })
  // Without a listener a thread that dies between two tasks would end the process.
  piscina.on('error', () => {})
  return piscina
}
