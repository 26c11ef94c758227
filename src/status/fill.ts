import type { StatusEntry } from '../job/status-entry.ts'
import type { FillLease, StatusCache } from '../cache/status-cache.ts'
import { reasonOf } from '../errors.ts'
import type { Epoch } from './epoch/epoch.ts'
import type { ExposeEntry, Fill } from './expose.ts'
import type { LoadEntry } from './load-entry.ts'
import type { SingleFlight } from './single-flight.ts'

/** Where an entry came from, for the metrics. */
export type ReadSource = 'cache' | 'store'

export type FillNeeds = {
  cache: StatusCache
  epoch: Epoch
  loadEntry: LoadEntry
  exposeEntry: ExposeEntry
  uniqueId: () => string
  onRead: (source: ReadSource) => void
  createSingleFlight: (load: SingleFlight<StatusEntry>) => SingleFlight<StatusEntry>
}

/** Reads of the store that fill the cache or bypass it. */
export const createFill = ({
  cache, epoch, loadEntry, exposeEntry, uniqueId, onRead, createSingleFlight
}: FillNeeds) => {
  /** Returns undefined if the cache is not in use, or fails now. */
  const tryCache = async <Value>(command: (epochName: string) => Promise<Value>): Promise<Value | undefined> => {
    const view = epoch.view()
    if (view.mode !== 'on') return undefined
    try {
      return await command(view.epoch)
    } catch (error) {
      epoch.trip(view, reasonOf(error))
      return undefined
    }
  }

  const fromStore = async (jobId: string, fill?: Fill): Promise<StatusEntry> => {
    onRead('store')
    return await exposeEntry(await loadEntry(jobId), fill)
  }

  /** Fills an empty cell; returns the entry that another reader has put there meanwhile, if one has. */
  const fill = createSingleFlight(async jobId => {
    const leased = await tryCache(async epochName => {
      const lease: FillLease = await cache.lease(epochName, jobId, uniqueId())
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

  // For an entry in the cache that is older than what the client has seen.
  const bypassCache = createSingleFlight(jobId => fromStore(jobId))

  return { tryCache, fill, bypassCache }
}
