import type { Entry, Lease, StatusCache } from '../cache/status-cache.ts'
import { reasonOf } from '../errors.ts'
import type { Epoch } from './epoch.ts'
import type { ExposeEntry, Fill } from './expose.ts'
import type { Look } from './look.ts'
import type { SingleFlight } from './single-flight.ts'

/** Where an answer came from, for the metrics. */
export type ReadSource = 'cache' | 'store'

export type FillNeeds = {
  cache: StatusCache
  epoch: Epoch
  look: Look
  exposeEntry: ExposeEntry
  uniqueId: () => string
  onRead: (source: ReadSource) => void
  createSingleFlight: (load: SingleFlight<Entry>) => SingleFlight<Entry>
}

/** Reads of the store on behalf of the cache. */
export const createFill = ({ cache, epoch, look, exposeEntry, uniqueId, onRead, createSingleFlight }: FillNeeds) => {
  /** Undefined where the cache is out of use, or has just failed. */
  const attempt = async <Value>(command: (epochName: string) => Promise<Value>): Promise<Value | undefined> => {
    const view = epoch.view()
    if (view.mode !== 'on') return undefined
    try {
      return await command(view.epoch)
    } catch (error) {
      epoch.trip(view, reasonOf(error))
      return undefined
    }
  }

  const fromStore = async (jobId: string, fill?: Fill): Promise<Entry> => {
    onRead('store')
    return await exposeEntry(await look(jobId), fill)
  }

  /** Fills an empty cell, or whatever is found in its place. */
  const fill = createSingleFlight(async jobId => {
    const leased = await attempt(async epochName => {
      const lease: Lease = await cache.lease(epochName, jobId, uniqueId())
      return { lease, epochName }
    })
    if (leased === undefined) return await fromStore(jobId)
    const { lease, epochName } = leased
    if (lease.kind === 'hit') {
      onRead('cache')
      return lease.entry
    }
    return await fromStore(jobId, { epoch: epochName, token: lease.token })
  })

  // Past an entry that is older than what the client has seen.
  const readThrough = createSingleFlight(jobId => fromStore(jobId))

  return { attempt, fill, readThrough }
}
