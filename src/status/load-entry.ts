import { LRUCache } from 'lru-cache'
import type { StatusEntry } from '../job/status-entry.ts'
import type { JobLookup } from '../job/job.ts'
import type { Views } from '../views/views.ts'

const knownMax = 10_000
const knownBytesMax = 32 * 1024 * 1024

export type EntryLoaderNeeds = {
  find: (jobId: string) => Promise<JobLookup>
  /** The version of the record that is in the store now, if there is one. */
  findVersion: (jobId: string) => Promise<number | undefined>
  views: Views
}

/** Reads from the store what to respond about a job now. Throws STORE_UNAVAILABLE. */
export type LoadEntry = (jobId: string) => Promise<StatusEntry>

/**
 * Reads the store and makes the entry. An entry is a function of its version, so the last one made for a job is used
 * again as long as the record still has that version: reading the version alone costs a fifth of reading the record and
 * making its bodies.
 */
export const createEntryLoader = ({ find, findVersion, views }: EntryLoaderNeeds): LoadEntry => {
  const known = new LRUCache<string, StatusEntry>({
    max: knownMax,
    maxSize: knownBytesMax,
    sizeCalculation: ({ v1Body, taskBody }) => 256 + 2 * (v1Body.length + taskBody.length)
  })
  return async jobId => {
    const last = known.get(jobId)
    if (last !== undefined && await findVersion(jobId) === last.version) return last
    const lookup = await find(jobId)
    const entry = views.toEntry(lookup)
    // A record that breaks BR-001 is logged at each read.
    if (lookup.kind === 'job' && entry.state !== 'invalid') known.set(jobId, entry)
    return entry
  }
}
