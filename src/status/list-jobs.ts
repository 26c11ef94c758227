import type { ListPosition } from '../job/list-position.ts'
import type { StatusEntry } from '../job/status-entry.ts'
import type { ListFilter, ListJobs } from '../store/store.ts'
import type { ExposeMany } from './expose.ts'

/**
 * One page of the list, newest first; `next` null: here it ends. Records that break BR-001 are in it, in the state
 * `invalid`. Throws STORE_UNAVAILABLE.
 */
export type ListStatuses = (
  filter: ListFilter, after: ListPosition | null, limit: number
) => Promise<{ entries: StatusEntry[], next: ListPosition | null }>

/** A list reveals states, so it exposes what it shows. */
export const createListStatuses = ({ list, exposeMany }: { list: ListJobs, exposeMany: ExposeMany }): ListStatuses =>
  async (filter, after, limit) => {
    const { lookups, next } = await list(filter, after, limit)
    return { entries: await exposeMany(lookups), next }
  }
