import type { StatusEntry } from '../job/status-entry.ts'
import { LRUCache } from 'lru-cache'
import type { Lookup } from '../cache/status-cache.ts'
import { reasonOf } from '../errors.ts'
import { createFill, type FillNeeds } from './fill.ts'

/**
 * The status of a job, at least as new as `floor` (a version the caller has seen; 0: none) and as anything revealed
 * before the call. Throws STORE_UNAVAILABLE when neither cache nor store can tell.
 */
export type ReadStatus = (jobId: string, floor: number) => StatusEntry | Promise<StatusEntry>

/** The statuses of many jobs, in their order: those that the cache holds in one round trip. Throws STORE_UNAVAILABLE. */
export type ReadMany = (jobIds: readonly string[]) => Promise<StatusEntry[]>

export type ReadStatusNeeds = FillNeeds

const refutedFloorsMax = 10_000

// A floor is no claim about an id that is not there.
const satisfies = (entry: StatusEntry, floor: number): boolean => entry.version >= floor || entry.state === 'absent'

export const createReadStatus = (needs: ReadStatusNeeds): { readStatus: ReadStatus, readMany: ReadMany } => {
  const { cache, epoch, onRead } = needs
  // Floors that the store did not confirm for an entry: forged, or of a restored database. Asked about once.
  const refuted = new LRUCache<string, true>({ max: refutedFloorsMax })

  const { tryCache, fill, bypassCache } = createFill(needs)

  // Past what the cache holds, which is nothing where `found` is undefined.
  const readFurther = async (jobId: string, floor: number, found: StatusEntry | undefined): Promise<StatusEntry> => {
    const entry = found ?? await fill(jobId)
    if (satisfies(entry, floor)) return entry
    const refutedKey = `${jobId} ${entry.version} ${floor}`
    if (refuted.has(refutedKey)) {
      if (found !== undefined) onRead('cache')
      return entry
    }
    const fresh = await bypassCache(jobId)
    if (!satisfies(fresh, floor)) refuted.set(`${jobId} ${fresh.version} ${floor}`, true)
    return fresh
  }

  const answer = (found: Lookup, jobId: string, floor: number): StatusEntry | Promise<StatusEntry> => {
    if (found.kind !== 'hit') return readFurther(jobId, floor, undefined)
    if (!satisfies(found.entry, floor)) return readFurther(jobId, floor, found.entry)
    onRead('cache')
    return found.entry
  }

  // No async function: on the hot path every promise counts.
  const readStatus: ReadStatus = (jobId, floor) => {
    const view = epoch.view()
    if (view.mode !== 'on') return readFurther(jobId, floor, undefined)
    const found = cache.get(view.epoch, jobId)
    if (!(found instanceof Promise)) return answer(found, jobId, floor)
    return found.then(found => answer(found, jobId, floor), (error: unknown) => {
      epoch.trip(view, reasonOf(error))
      return readFurther(jobId, floor, undefined)
    })
  }

  const readMany: ReadMany = async jobIds => {
    const found = await tryCache(epochName => cache.getMany(epochName, jobIds))
    return await Promise.all(jobIds.map(async (jobId, index) => {
      const lookup = found?.[index]
      if (lookup?.kind !== 'hit') return await fill(jobId)
      onRead('cache')
      return lookup.entry
    }))
  }

  return { readStatus, readMany }
}
