import { setTimeout as delay } from 'node:timers/promises'
import { type End, NotShowable } from './rows.ts'

/** What events have said of a job since it was last shown. */
export type Noted = { end: End | null, isRemoved: boolean }

/** The jobs that wait to be shown, one entry a job. */
export type Pending = {
  note: (id: string, noted?: Partial<Noted>) => void
  /** Shows them until it is closed. */
  run: () => Promise<void>
  /** Resolves when nothing is left to show. */
  isEmpty: () => Promise<void>
  close: () => void
}

const batchSize = 50
const pauseMs = 500

/** Shows jobs in batches, and never one twice at the same time. What fails is tried again until it succeeds. */
export const createPending = (
  show: (id: string, noted: Noted) => Promise<void>, onError: (error: unknown) => void
): Pending => {
  const pending = new Map<string, Noted>()
  const waiting: Array<() => void> = []
  let isClosed = false
  let wake = (): void => {}

  const showOne = async ([id, noted]: [string, Noted]): Promise<boolean> => {
    try {
      await show(id, noted)
      return true
    } catch (error) {
      onError(error)
      if (error instanceof NotShowable) return true
      // An end that came meanwhile counts more than this one.
      const later = pending.get(id)
      pending.set(id, { end: later?.end ?? noted.end, isRemoved: noted.isRemoved || (later?.isRemoved ?? false) })
      return false
    }
  }
  const showBatch = async (): Promise<void> => {
    const jobs = [...pending.entries().take(batchSize)]
    for (const [id] of jobs) pending.delete(id)
    const shown = await Promise.all(jobs.map(showOne))
    if (shown.includes(false)) await delay(pauseMs)
  }

  return {
    note: (id, { end = null, isRemoved = false } = {}) => {
      const before = pending.get(id)
      pending.set(id, { end: end ?? before?.end ?? null, isRemoved: isRemoved || (before?.isRemoved ?? false) })
      wake()
    },
    run: async () => {
      while (!isClosed) {
        if (pending.size > 0) {
          await showBatch()
          continue
        }
        for (const resolve of waiting.splice(0)) resolve()
        await new Promise<void>(resolve => { wake = resolve })
      }
      for (const resolve of waiting.splice(0)) resolve()
    },
    isEmpty: async () => {
      if (isClosed) return
      await new Promise<void>(resolve => {
        waiting.push(resolve)
        wake()
      })
    },
    close: () => {
      isClosed = true
      wake()
    }
  }
}
