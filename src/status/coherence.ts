import { createExpose, createExposeEntry, createExposeMany, createOutdate, type ExposeNeeds } from './expose.ts'
import type { FillNeeds } from './fill.ts'
import { createLook, type LookNeeds } from './look.ts'
import { createReadStatus } from './read-status.ts'

export type CoherenceNeeds = ExposeNeeds & Omit<LookNeeds, 'toEntry'> & Pick<FillNeeds, 'uniqueId' | 'onRead' | 'createSingleFlight'>

/** All that reads and writes through one cache, so that no answer is older than one before it. */
export const createCoherence = (needs: CoherenceNeeds) => {
  const exposeEntry = createExposeEntry(needs)
  return {
    expose: createExpose(needs),
    exposeMany: createExposeMany(needs),
    outdate: createOutdate(needs),
    ...createReadStatus({ ...needs, exposeEntry, look: createLook(needs) })
  }
}
