import type { StatusEntry } from '../job/status-entry.ts'
import { type FillLease, livesLong, type StatusCache } from '../cache/status-cache.ts'
import { reasonOf } from '../errors.ts'
import type { Epoch } from './epoch/epoch.ts'
import type { ExposeEntry, Fill, InvalidateOlder } from './expose.ts'
import type { FillPolicy } from './fill-policy.ts'
import type { LoadEntry } from './load-entry.ts'
import type { SingleFlight } from './single-flight.ts'

/** Where an entry came from, for the metrics. */
export type ReadSource = 'cache' | 'store'

export type FillNeeds = {
  cache: StatusCache
  epoch: Epoch
  loadEntry: LoadEntry
  exposeEntry: ExposeEntry
  invalidateOlder: InvalidateOlder
  fillPolicy: FillPolicy
  uniqueId: () => string
  onRead: (source: ReadSource) => void
  createSingleFlight: (load: SingleFlight<StatusEntry>) => SingleFlight<StatusEntry>
}

/** Reads of the store that fill the cache or bypass it. */
export const createFill = ({
  cache, epoch, loadEntry, exposeEntry, invalidateOlder, fillPolicy, uniqueId, onRead, createSingleFlight
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

  /**
   * Reads past the cell: one round trip to the cache, and no body is sent. Returns undefined for an entry that lives long
   * and is worth its fill, which reads again, because what was read before the lease may be older than the token; and
   * while the store is away, because the cell may still answer.
   */
  const readUncached = async (jobId: string): Promise<StatusEntry | undefined> => {
    fillPolicy.onLoad()
    const entry = await loadEntry(jobId).catch(() => undefined)
    if (entry === undefined) {
      fillPolicy.onLoadFailed()
      return undefined
    }
    fillPolicy.onLoaded()
    if (livesLong(entry.state)) return undefined
    onRead('store')
    if (await invalidateOlder(entry)) fillPolicy.onHit()
    else fillPolicy.onMiss()
    return entry
  }

  /** Reads where no entry is expected, and fills the cell if that is worth it; returns the entry in it if there is one. */
  const fill = createSingleFlight(async jobId => {
    const uncached = fillPolicy.isWorthFilling(jobId) ? undefined : await readUncached(jobId)
    if (uncached !== undefined) return uncached
    const leased = await tryCache(async epochName => {
      const lease: FillLease = await cache.lease(epochName, jobId, uniqueId())
      return { lease, epochName }
    })
    if (leased === undefined) return await fromStore(jobId)
    const { lease, epochName } = leased
    if (lease.kind === 'hit') {
      fillPolicy.onHit()
      onRead('cache')
      return lease.entry
    }
    fillPolicy.onMiss()
    return await fromStore(jobId, { epoch: epochName, token: lease.token })
  })

  // For an entry in the cache that is older than what the client has seen.
  const bypassCache = createSingleFlight(jobId => fromStore(jobId))

  return { tryCache, fill, bypassCache }
}
