import { setImmediate as nextTurn } from 'node:timers/promises'
import { LRUCache } from 'lru-cache'
import type { Lookup } from '../cache/status-cache.ts'
import { reasonOf } from '../errors.ts'
import type { ListPosition } from '../job/list-position.ts'
import type { StatusEntry } from '../job/status-entry.ts'
import type { ListFilter, ListJobs } from '../store/store.ts'
import type { ExposeMany } from './expose.ts'
import { createFill, type FillNeeds } from './fill.ts'

/**
 * Reads the status of a job, at least as new as `floor` (a version that the caller has seen; 0: none) and as anything
 * revealed before the call. Throws STORE_UNAVAILABLE when the cache cannot answer and the store cannot be read.
 */
export type ReadStatus = (jobId: string, floor: number) => StatusEntry | Promise<StatusEntry>

/**
 * Reads the statuses of many jobs, in the order of the ids; what the cache holds comes in one round trip. Throws
 * STORE_UNAVAILABLE.
 */
export type ReadMany = (jobIds: readonly string[]) => Promise<StatusEntry[]>

/** `positions` are those of the entries; `next` null: the list ends here. */
export type StatusPage = { entries: StatusEntry[], positions: ListPosition[], next: ListPosition | null }

/**
 * Reads one page of the list, newest first. Records that break BR-001 are in it, in the state `invalid`. Throws
 * STORE_UNAVAILABLE.
 */
export type ListStatuses = (filter: ListFilter, after: ListPosition | null, limit: number) => Promise<StatusPage>

export type ReadStatusNeeds = FillNeeds

const unconfirmedFloorsMax = 10_000

// The event loop gets a turn between them: another program may have written records that take milliseconds to read.
const filledAtOnce = 5

// A floor means nothing for an id that does not exist.
const satisfies = (entry: StatusEntry, floor: number): boolean => entry.version >= floor || entry.state === 'absent'

export const createReadStatus = (needs: ReadStatusNeeds): { readStatus: ReadStatus, readMany: ReadMany } => {
  const { cache, epoch, fillPolicy, onRead } = needs
  // Floors that the store did not confirm for an entry: forged, or from before a restore. The store is asked once.
  const unconfirmed = new LRUCache<string, true>({ max: unconfirmedFloorsMax })

  const { tryCache, fill, bypassCache } = createFill(needs)

  // `found`: the entry in the cache, if there is one.
  const readFurther = async (jobId: string, floor: number, found: StatusEntry | undefined): Promise<StatusEntry> => {
    const entry = found ?? await fill(jobId)
    if (satisfies(entry, floor)) return entry
    const floorKey = `${jobId} ${entry.version} ${floor}`
    if (unconfirmed.has(floorKey)) {
      if (found !== undefined) onRead('cache')
      return entry
    }
    const fresh = await bypassCache(jobId)
    if (!satisfies(fresh, floor)) unconfirmed.set(`${jobId} ${fresh.version} ${floor}`, true)
    return fresh
  }

  const answer = (found: Lookup, jobId: string, floor: number): StatusEntry | Promise<StatusEntry> => {
    if (found.kind !== 'hit') return readFurther(jobId, floor, undefined)
    if (!satisfies(found.entry, floor)) return readFurther(jobId, floor, found.entry)
    fillPolicy.onHit()
    onRead('cache')
    return found.entry
  }

  // Not an async function: on the hot path every promise counts.
  const readStatus: ReadStatus = (jobId, floor) => {
    const view = epoch.view()
    if (view.mode !== 'on' || fillPolicy.expectsMiss()) return readFurther(jobId, floor, undefined)
    const found = cache.get(view.epoch, jobId)
    if (!(found instanceof Promise)) return answer(found, jobId, floor)
    return found.then(found => answer(found, jobId, floor), (error: unknown) => {
      epoch.trip(view, reasonOf(error))
      return readFurther(jobId, floor, undefined)
    })
  }

  const readMany: ReadMany = async jobIds => {
    const found = await tryCache(epochName => cache.getMany(epochName, jobIds))
    const entries = new Map<string, StatusEntry>()
    for (const [index, jobId] of jobIds.entries()) {
      const lookup = found?.[index]
      if (lookup?.kind !== 'hit') continue
      fillPolicy.onHit()
      onRead('cache')
      entries.set(jobId, lookup.entry)
    }
    const missing = jobIds.filter(jobId => !entries.has(jobId))
    for (let at = 0; at < missing.length; at += filledAtOnce) {
      if (at > 0) await nextTurn()
      const filled = await Promise.all(missing.slice(at, at + filledAtOnce).map(jobId => fill(jobId)))
      for (const entry of filled) entries.set(entry.jobId, entry)
    }
    return jobIds.flatMap(jobId => entries.get(jobId) ?? [])
  }

  return { readStatus, readMany }
}

/** Reads the list from the store. A page reveals the states in it, so it is exposed like any other response. */
export const createListStatuses = ({ list, exposeMany }: { list: ListJobs, exposeMany: ExposeMany }): ListStatuses =>
  async (filter, after, limit) => {
    const { lookups, ...place } = await list(filter, after, limit)
    return { entries: await exposeMany(lookups), ...place }
  }
