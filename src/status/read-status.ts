import { LRUCache } from 'lru-cache'
import type { Entry, Lease, StatusCache } from '../cache/status-cache.ts'
import { reasonOf } from '../errors.ts'
import type { JobLookup } from '../job/job.ts'
import type { Epoch } from './epoch.ts'
import type { Expose, Fill } from './expose.ts'
import { createSingleFlight } from './single-flight.ts'

/** What a reader can be told of a job, both bodies ready made. */
export type StatusEntry = Entry

/** Where an answer came from, for the metrics. */
export type ReadSource = 'cache' | 'store'

/**
 * The status of a job, at least as new as `floor` (a version the caller has seen; 0: none) and as anything revealed
 * before the call. Throws STORE_UNAVAILABLE when neither cache nor store can tell.
 */
export type ReadStatus = (jobId: string, floor: number) => Promise<Entry>

/** The statuses of many jobs, in their order: those that the cache holds in one round trip. Throws STORE_UNAVAILABLE. */
export type ReadMany = (jobIds: readonly string[]) => Promise<Entry[]>

export type ReadStatusNeeds = {
  cache: StatusCache
  epoch: Epoch
  expose: Expose
  find: (jobId: string) => Promise<JobLookup>
  randomId: () => string
  onRead: (source: ReadSource) => void
}

const refutedFloorsMax = 10_000

// A floor is no claim about an id that is not there.
const satisfies = (entry: Entry, floor: number): boolean => entry.version >= floor || entry.state === 'absent'

export const createReadStatus = ({ cache, epoch, expose, find, randomId, onRead }: ReadStatusNeeds): { readStatus: ReadStatus, readMany: ReadMany } => {
  // Floors that the store did not confirm for an entry: forged, or of a restored database. Asked about once.
  const refuted = new LRUCache<string, true>({ max: refutedFloorsMax })

  const attempt = async <Value>(command: (epochName: string) => Promise<Value>): Promise<Value | undefined> => {
    const view = epoch.view()
    if (view.mode === 'off') return undefined
    try {
      return await command(view.epoch)
    } catch (error) {
      epoch.trip(view, reasonOf(error))
      return undefined
    }
  }

  const fromStore = async (jobId: string, fill?: Fill): Promise<Entry> => {
    onRead('store')
    return await expose(await find(jobId), fill)
  }

  const fill = createSingleFlight(async jobId => {
    const leased = await attempt(async epochName => {
      const lease: Lease = await cache.lease(epochName, jobId, randomId())
      return { lease, epochName }
    })
    if (leased === undefined) return await fromStore(jobId)
    const { lease, epochName } = leased
    if (lease.kind === 'hit') return lease.entry
    return await fromStore(jobId, { epoch: epochName, token: lease.token })
  })

  const readThrough = createSingleFlight(jobId => fromStore(jobId))

  const readStatus: ReadStatus = async (jobId, floor) => {
    const found = await attempt(epochName => cache.get(epochName, jobId))
    const entry = found?.kind === 'hit' ? found.entry : await fill(jobId)
    if (satisfies(entry, floor)) {
      if (found?.kind === 'hit') onRead('cache')
      return entry
    }
    const claim = `${jobId} ${entry.version} ${floor}`
    if (refuted.has(claim)) return entry
    const fresh = await readThrough(jobId)
    if (!satisfies(fresh, floor)) refuted.set(`${jobId} ${fresh.version} ${floor}`, true)
    return fresh
  }

  const readMany: ReadMany = async jobIds => {
    const found = await attempt(epochName => cache.getMany(epochName, jobIds))
    return await Promise.all(jobIds.map(async (jobId, index) => {
      const lookup = found?.[index]
      if (lookup?.kind !== 'hit') return await fill(jobId)
      onRead('cache')
      return lookup.entry
    }))
  }

  return { readStatus, readMany }
}
