import type { StatusEntry } from '../job/status-entry.ts'
import type { StatusCache } from '../cache/status-cache.ts'
import { reasonOf } from '../errors.ts'
import type { JobLookup } from '../job/job.ts'
import { mapInTurns } from '../turns.ts'
import type { Views } from '../views/views.ts'
import type { Epoch } from './epoch/epoch.ts'

/*
 * Guarantee G1: a request that starts after any response revealed version v of a job gets at least v.
 *
 * So no response may reveal a version while the cache can still return an older one. A request that has read or written
 * the store passes what it found through `expose` before it responds: a reader with the token under which it leased the
 * cell, a writer without one. Set-if-newer is not enough: after an eviction a late reader would fill the empty cell
 * with an old version. Here an empty cell stays empty, and a reader whose token another exposure deleted fills nothing.
 */

/** The right to fill a cell, and the epoch in which it was obtained. */
export type Fill = { epoch: string, token: string }

/**
 * Makes sure that no reader gets anything older than this from now on. Returns the entry to respond with. If the cache
 * fails, its epoch ends. Throws STORE_UNAVAILABLE if the other processes do not learn of that in time; what was
 * committed stays committed.
 */
export type Expose = (lookup: JobLookup, fill?: Fill) => Promise<StatusEntry>

/** The same, for a caller that has made the entry already. */
export type ExposeEntry = (entry: StatusEntry, fill?: Fill) => Promise<StatusEntry>

/**
 * The same for many in one round trip; entries in the order of the lookups. What would be large to send only invalidates
 * its cell.
 */
export type ExposeMany = (lookups: readonly JobLookup[]) => Promise<StatusEntry[]>

/**
 * Makes sure that the cache returns nothing older than this version, without reading the job. Throws as Expose does.
 */
export type Invalidate = (jobId: string, version: number) => Promise<void>

/**
 * Does what ExposeEntry does without sending the entry: the cell is left empty, or with what is as new. Resolves to
 * whether it was. Throws as Expose does.
 */
export type InvalidateOlder = (entry: StatusEntry) => Promise<boolean>

export type ExposeNeeds = {
  cache: StatusCache
  epoch: Epoch
  views: Views
  /** Called with each entry once it is exposed. Must not throw: what was committed stays committed. */
  onExposed: (entry: StatusEntry) => void
}

/**
 * Runs a command until it has taken effect in the current epoch, or no process uses the cache any more: then it resolves
 * to undefined.
 */
const settle = async <Value>(
  epoch: Epoch, command: (epochName: string) => Promise<Value>
): Promise<Value | undefined> => {
  for (;;) {
    const view = epoch.view()
    if (view.mode === 'off') {
      if (await epoch.awaitOldLeases()) return undefined
      continue
    }
    try {
      const value = await command(view.epoch)
      // If the epoch has ended meanwhile, the command has not reached the cells that others read now.
      const { epoch: name, mode } = epoch.view()
      if (name === view.epoch && mode !== 'off') return value
    } catch (error) {
      epoch.trip(view, reasonOf(error))
    }
  }
}

export const createExposeEntry = (
  { cache, epoch, onExposed }: Omit<ExposeNeeds, 'views'>
): ExposeEntry => async (entry, fill) => {
  await settle(epoch, epochName => cache.expose(epochName, entry, fill?.epoch === epochName ? fill.token : null))
  onExposed(entry)
  return entry
}

export const createExpose = (needs: ExposeNeeds): Expose => {
  const exposeEntry = createExposeEntry(needs)
  return (lookup, fill) => exposeEntry(needs.views.toEntry(lookup), fill)
}

// In characters. Two hundred entries of this size reach the cache within a few ms.
const sentLengthMax = 8192

const lengthOf = ({ v1Body, taskBody }: StatusEntry): number => v1Body.length + taskBody.length

export const createExposeMany = ({ cache, epoch, views, onExposed }: ExposeNeeds): ExposeMany => async lookups => {
  const entries = await mapInTurns(lookups, lookup => views.toEntry(lookup), lengthOf)
  const small = entries.filter(entry => lengthOf(entry) <= sentLengthMax)
  const large = entries.filter(entry => lengthOf(entry) > sentLengthMax)
  await settle(epoch, async epochName => {
    await Promise.all([
      cache.exposeMany(epochName, small),
      ...large.map(({ jobId, version }) => cache.invalidate(epochName, jobId, version))
    ])
  })
  for (const entry of entries) onExposed(entry)
  return entries
}

export const createInvalidate = (
  { cache, epoch }: Pick<ExposeNeeds, 'cache' | 'epoch'>
): Invalidate => async (jobId, version) => {
  await settle(epoch, epochName => cache.invalidate(epochName, jobId, version))
}

export const createInvalidateOlder = (
  { cache, epoch, onExposed }: Omit<ExposeNeeds, 'views'>
): InvalidateOlder => async entry => {
  const { jobId, version } = entry
  const isCached = await settle(epoch, epochName => cache.invalidate(epochName, jobId, version))
  onExposed(entry)
  return isCached ?? false
}
