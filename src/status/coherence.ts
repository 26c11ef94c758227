import {
  createExpose, createExposeEntry, createExposeMany, createInvalidate, createInvalidateOlder, type ExposeNeeds
} from './expose.ts'
import { createJobWatch, type JobWatch, type JobWatchNeeds } from './await-change.ts'
import { createEntryLoader, type EntryLoaderNeeds } from './load-entry.ts'
import { createReadStatus, type ReadStatusNeeds } from './read-status.ts'

export type CoherenceNeeds = Omit<ExposeNeeds, 'onExposed'> & EntryLoaderNeeds &
  Pick<ReadStatusNeeds, 'uniqueId' | 'onRead' | 'createSingleFlight' | 'fillPolicy'> & Pick<JobWatchNeeds, 'findVersions'>

/** Everything that reads and writes through one cache, so that no response is older than one before it. */
export const createCoherence = (needs: CoherenceNeeds) => {
  const exposeNeeds: ExposeNeeds = { ...needs, onExposed: entry => { watch.onExposed(entry) } }
  const reads = createReadStatus({
    ...needs,
    exposeEntry: createExposeEntry(exposeNeeds),
    invalidateOlder: createInvalidateOlder(exposeNeeds),
    loadEntry: createEntryLoader(needs)
  })
  const watch: JobWatch = createJobWatch({ ...needs, ...reads })
  return {
    expose: createExpose(exposeNeeds),
    exposeMany: createExposeMany(exposeNeeds),
    invalidate: createInvalidate(needs),
    ...reads,
    watch
  }
}
