import type { Entry, StatusCache } from '../cache/status-cache.ts'
import type { JobLookup } from '../job/job.ts'
import type { Epoch } from './epoch.ts'

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

/** Makes sure that the cache gives nothing older than this from now on. Never rejects: a cache that fails is left behind. */
export type Expose = (lookup: JobLookup, fill?: Fill) => Promise<Entry>

export type ExposeNeeds = {
  cache: StatusCache
  epoch: Epoch
  toEntry: (lookup: JobLookup) => Entry
}

export const createExpose = ({ cache, epoch, toEntry }: ExposeNeeds): Expose => async (lookup, fill) => {
  const entry = toEntry(lookup)
  for (;;) {
    const view = epoch.view()
    if (view.mode === 'off') return entry
    try {
      await cache.expose(view.epoch, entry, fill?.epoch === view.epoch ? fill.token : null)
      // Had the epoch ended meanwhile, the cells that others read now would not know of this entry yet.
      if (epoch.view().epoch === view.epoch) return entry
    } catch (error) {
      epoch.trip(view, error instanceof Error ? error.message : 'expose failed')
    }
  }
}
