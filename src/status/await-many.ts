import type { StatusEntry } from '../job/status-entry.ts'
import type { JobWatch, OnEntry } from './await-change.ts'

/*
 * Waits for changes of many jobs as one client: one subscription and one read at its beginning, then constant work for
 * each change, and one more read of all jobs for the response.
 */

/** Whether a change, newer than what was read, may be what the client waits for, so that all jobs are read again. */
export type IsNews = (entry: StatusEntry) => boolean

/**
 * Called with what was read. Returns null if that is what the client waits for, otherwise what is called with each
 * further change.
 */
export type Await = (entries: readonly StatusEntry[]) => IsNews | null

/**
 * Reads these jobs by `read` until it returns what is awaited, and returns that; null once `ended` has resolved before.
 * Throws what `read` throws.
 */
export type AwaitMany = (
  jobIds: readonly string[], read: () => Promise<StatusEntry[]>, toNews: Await, ended: Promise<unknown>
) => Promise<StatusEntry[] | null>

const isNewer = (entry: StatusEntry, than: StatusEntry | undefined): boolean =>
  entry.state === 'absent' || than === undefined || entry.version > than.version

export const createAwaitMany = (
  { subscribe, onExposed }: Pick<JobWatch, 'subscribe' | 'onExposed'>
): AwaitMany => async (jobIds, read, toNews, ended) => {
  let onEntry: OnEntry = () => {}
  const unsubscribe = subscribe(jobIds, entry => { onEntry(entry) })

  const awaitNews = async (): Promise<StatusEntry[] | 'news' | null> => {
    // Changes during the read may be older than what it returns, or newer.
    const meanwhile: StatusEntry[] = []
    onEntry = entry => { meanwhile.push(entry) }
    const entries = await read()
    const isNews = toNews(entries)
    if (isNews === null) return entries
    const { promise: news, resolve } = Promise.withResolvers<'news'>()
    onEntry = entry => { if (isNews(entry)) resolve('news') }
    const readOf = new Map(entries.map(entry => [entry.jobId, entry]))
    for (const entry of meanwhile) if (isNewer(entry, readOf.get(entry.jobId))) onEntry(entry)
    for (const entry of entries) onExposed(entry)
    return await Promise.race([news, ended.then(() => null)])
  }

  try {
    for (;;) {
      const found = await awaitNews()
      if (found !== 'news') return found
    }
  } finally {
    unsubscribe()
  }
}
