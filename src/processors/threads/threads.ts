import { fileURLToPath } from 'node:url'
import type { Piscina } from 'piscina'
import type { Schedule } from '../../schedule.ts'
import { crashed } from './thread-result.ts'

export type ThreadsNeeds = {
  /** The module whose exports run in a thread. */
  entry: URL
  /** Tasks at once; further ones wait. */
  threads: number
  schedule: Schedule
}

/** Threads that start with the first task and end after a minute without one: each takes some 40 MB. */
export type Threads = {
  /** Gives the threads to work that runs a task in one. Throws PROCESSOR_CRASHED if there are none. */
  use: <Result>(work: (threads: Piscina) => Promise<Result>) => Promise<Result>
  areOpen: () => boolean
  /** Ends every thread, for good. */
  close: () => Promise<void>
}

const idleMsMax = 60_000

const open = async ({ entry, threads }: ThreadsNeeds): Promise<Piscina> => {
  const { Piscina } = await import('piscina')
  const piscina = new Piscina({
    filename: fileURLToPath(entry),
    // Piscina could end idle threads itself. But with fewer threads kept than allowed, tasks that wait for one that dies
    // would wait for ever.
    minThreads: threads,
    maxThreads: threads,
    // Otherwise an idle thread blocks its own event loop, and with it whatever a task left to close.
    atomics: 'disabled',
    recordTiming: false
  })
  // Without a listener a thread that dies between two tasks would end the process.
  piscina.on('error', () => {})
  return piscina
}

export const createThreads = (needs: ThreadsNeeds): Threads => {
  let opened: Promise<Piscina> | null = null
  let tasks = 0
  let idle = { cancel: () => {} }
  let isClosed = false

  const openOnce = (): Promise<Piscina> => {
    opened ??= open(needs).catch((error: unknown) => {
      opened = null
      throw crashed(error instanceof Error ? error.name : 'unknown')
    })
    return opened
  }
  const end = async (): Promise<void> => {
    const ending = opened
    opened = null
    await (await ending)?.destroy()
  }

  return {
    use: async work => {
      if (isClosed) throw crashed('closed')
      idle.cancel()
      tasks += 1
      try {
        return await work(await openOnce())
      } finally {
        tasks -= 1
        if (tasks === 0 && !isClosed) idle = needs.schedule(() => { void end() }, idleMsMax)
      }
    },
    areOpen: () => opened !== null,
    close: async () => {
      isClosed = true
      idle.cancel()
      await end()
    }
  }
}
