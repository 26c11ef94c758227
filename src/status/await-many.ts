import type { StatusEntry } from '../job/status-entry.ts'
import { isNewer, type JobWatch, type OnEntry } from './await-change.ts'

/*
 * Waits for changes of many jobs as one client: one subscription and one read at its beginning, then constant work for
 * each change, and one more read of all jobs for the response.
 */

/** Whether a change, newer than what was read, may be what the client waits for, so that all jobs are read again. */
export type MayEndWait = (entry: StatusEntry) => boolean

/**
 * Called with what was read. Returns null if that is what the client waits for, otherwise what is called with each
 * further change.
 */
export type Await = (entries: readonly StatusEntry[]) => MayEndWait | null

/**
 * Reads these jobs by `read` until it returns what is awaited, and returns that; null once `ended` has resolved before.
 * Throws what `read` throws.
 */
export type AwaitMany = (
  jobIds: readonly string[], read: () => Promise<StatusEntry[]>, awaited: Await, ended: Promise<unknown>
) => Promise<StatusEntry[] | null>

export const createAwaitMany = (
  { subscribe, onExposed }: Pick<JobWatch, 'subscribe' | 'onExposed'>
): AwaitMany => async (jobIds, read, awaited, ended) => {
  let onEntry: OnEntry = () => {}
  const unsubscribe = subscribe(jobIds, entry => { onEntry(entry) })

  const awaitChange = async (): Promise<StatusEntry[] | 'changed' | null> => {
    // Changes during the read may be older than what it returns, or newer.
    const meanwhile: StatusEntry[] = []
    onEntry = entry => { meanwhile.push(entry) }
    const entries = await read()
    const mayEndWait = awaited(entries)
    if (mayEndWait === null) return entries
    const { promise: changed, resolve } = Promise.withResolvers<'changed'>()
    onEntry = entry => { if (mayEndWait(entry)) resolve('changed') }
    const readOf = new Map(entries.map(entry => [entry.jobId, entry]))
    for (const entry of meanwhile) {
      const read = readOf.get(entry.jobId)
      if (read === undefined || isNewer(entry, read)) onEntry(entry)
    }
    for (const entry of entries) onExposed(entry)
    return await Promise.race([changed, ended.then(() => null)])
  }

  try {
    for (;;) {
      const found = await awaitChange()
      if (found !== 'changed') return found
    }
  } finally {
    unsubscribe()
  }
}
