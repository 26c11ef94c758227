import { createExpose, createExposeEntry, createExposeMany, createInvalidate, type ExposeNeeds } from './expose.ts'
import type { FillNeeds } from './fill.ts'
import { createEntryLoader, type EntryLoaderNeeds } from './load-entry.ts'
import { createReadStatus } from './read-status.ts'

export type CoherenceNeeds = ExposeNeeds &
  EntryLoaderNeeds & Pick<FillNeeds, 'uniqueId' | 'onRead' | 'createSingleFlight'>

/** Everything that reads and writes through one cache, so that no response is older than one before it. */
export const createCoherence = (needs: CoherenceNeeds) => {
  const exposeEntry = createExposeEntry(needs)
  return {
    expose: createExpose(needs),
    exposeMany: createExposeMany(needs),
    invalidate: createInvalidate(needs),
    ...createReadStatus({ ...needs, exposeEntry, loadEntry: createEntryLoader(needs) })
  }
}
