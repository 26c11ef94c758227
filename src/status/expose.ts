import type { StatusEntry } from '../job/status-entry.ts'
import type { StatusCache } from '../cache/status-cache.ts'
import { reasonOf } from '../errors.ts'
import type { JobLookup } from '../job/job.ts'
import type { Views } from '../views/views.ts'
import type { Epoch } from './epoch/epoch.ts'

/*
 * Guarantee G1: a request that starts after any response revealed version v of a job gets at least v.
 *
 * So no answer may reveal a version before the cache can no longer give an older one. Whoever read or wrote the store
 * passes what it found through `expose` before it answers: a reader with the token under which it leased the cell,
 * a writer without one. Set-if-newer is not enough: after an eviction a late reader would fill the empty cell with the
 * past. Here an empty cell stays empty, and a token that another exposure killed fills nothing.
 */

/** The right to fill a cell, in the epoch in which it was got. */
export type Fill = { epoch: string, token: string }

/**
 * Makes sure that nobody is given anything older than this from now on. A cache that fails is left behind. Throws
 * STORE_UNAVAILABLE where the other processes cannot be told so in time; what was committed stands.
 */
export type Expose = (lookup: JobLookup, fill?: Fill) => Promise<StatusEntry>

/** The same for one who has the entry already. */
export type ExposeEntry = (entry: StatusEntry, fill?: Fill) => Promise<StatusEntry>

/** The same for many in one round trip; entries in the order of the lookups. */
export type ExposeMany = (lookups: readonly JobLookup[]) => Promise<StatusEntry[]>

/** Makes sure that the cache gives nothing older than this version, for one who has not read what it says. Throws as Expose does. */
export type Invalidate = (jobId: string, version: number) => Promise<void>

export type ExposeNeeds = {
  cache: StatusCache
  epoch: Epoch
  views: Views
}

/** Runs a command until it has taken effect in an epoch that still stands, or the cache is out of use for all. */
const settle = async (epoch: Epoch, command: (epochName: string) => Promise<void>): Promise<void> => {
  for (;;) {
    const view = epoch.view()
    if (view.mode === 'off') {
      if (await epoch.awaitOldLeases()) return
      continue
    }
    try {
      await command(view.epoch)
      // Had the epoch ended meanwhile, the cells that others read now would not know of it yet.
      const { epoch: name, mode } = epoch.view()
      if (name === view.epoch && mode !== 'off') return
    } catch (error) {
      epoch.trip(view, reasonOf(error))
    }
  }
}

export const createExposeEntry = ({ cache, epoch }: Pick<ExposeNeeds, 'cache' | 'epoch'>): ExposeEntry => async (entry, fill) => {
  await settle(epoch, epochName => cache.expose(epochName, entry, fill?.epoch === epochName ? fill.token : null))
  return entry
}

export const createExpose = (needs: ExposeNeeds): Expose => {
  const exposeEntry = createExposeEntry(needs)
  return (lookup, fill) => exposeEntry(needs.views.toEntry(lookup), fill)
}

export const createExposeMany = ({ cache, epoch, views }: ExposeNeeds): ExposeMany => async lookups => {
  const entries = lookups.map(lookup => views.toEntry(lookup))
  await settle(epoch, epochName => cache.exposeMany(epochName, entries))
  return entries
}

export const createInvalidate = ({ cache, epoch }: Pick<ExposeNeeds, 'cache' | 'epoch'>): Invalidate => (jobId, version) =>
  settle(epoch, epochName => cache.invalidate(epochName, jobId, version))
