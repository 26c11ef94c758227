import type { StatusEntry } from '../job/status-entry.ts'
import { LRUCache } from 'lru-cache'
import type { JobLookup } from '../job/job.ts'
import type { Views } from '../views/views.ts'

const knownMax = 10_000
const knownBytesMax = 32 * 1024 * 1024

export type EntryLoaderNeeds = {
  find: (jobId: string) => Promise<JobLookup>
  /** The version of a record that stands in the store now, if one does. */
  findVersion: (jobId: string) => Promise<number | undefined>
  views: Views
}

/** What the store says of a job now. Throws STORE_UNAVAILABLE. */
export type LoadEntry = (jobId: string) => Promise<StatusEntry>

/**
 * A look at the store. An entry is a function of its version, so one that was made before is good for as
 * long as the record still has its version: to ask for that alone costs a fifth of reading the record and putting its
 * bodies together.
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
    // What is told of a record that breaks BR-001 is also told to the log, each time.
    if (lookup.kind === 'job' && entry.state !== 'invalid') known.set(jobId, entry)
    return entry
  }
}
