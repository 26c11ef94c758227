import { type JobLookup, type JobState, toRecordStatus } from '../job/job.ts'
import type { ListPosition } from '../job/list-position.ts'
import type { ListFilter } from './store.ts'

/*
 * How a list is put together from the indexes of the record, on any database.
 *
 * An index is read in up to two ranges, each of which the database finds by a search: the rest of the rows created in
 * the same millisecond, and those created before. One comparison of rows, (createdMs, seq) < (?, ?), would examine all
 * rows of that millisecond again for each page, and a statement that inserts a million rows gives them all one time.
 */

export type Range = 'sameTime' | 'before'

/** Rows read from one range of one index for a page. SQLite takes 1 to 2 ms for them. */
export const rowsExaminedMaxDefault = 5000

/** Rows whose ids begin with a text. They are read wherever they are in the file, and sorted. */
export const idsExaminedMax = 500

/** Of the texts of a page, which other programs may have made long; to read and cut as much takes 5 to 8 ms. */
export const textBytesMax = 4 * 1024 * 1024

/** The rows of one index that match. `gaveUpAt`: where the bound ended the search; null if it ended by itself. */
export type Found = { rows: ListPosition[], gaveUpAt: ListPosition | null }

/**
 * Whose rows a search finds; each has an index: those of all, of one tenant, or of none, which is null, or the empty
 * text that some programs write instead.
 */
export type Owner = 'all' | 'tenant' | 'null' | 'empty'

export type Bounds = ListPosition & { createdAfter: number }

/** A search in one range of one index, newest rows first. */
export type Search = { owner: Owner, range: Range, bounds: Bounds, limit: number }

/** The rows of a page. `next`: where the next one begins; null: there is none. */
export type PageRows = { rows: ListPosition[], next: ListPosition | null }

const anyTime = Number.MIN_SAFE_INTEGER
const anySeq = Number.MAX_SAFE_INTEGER
const latest: ListPosition = { createdMs: Number.MAX_SAFE_INTEGER, seq: anySeq }

const rangesAfter = (after: ListPosition | null): Range[] => after === null ? ['before'] : ['sameTime', 'before']

/** The statuses of these states; null for any. */
export const toStatuses = (states: readonly JobState[] | null): string[] | null =>
  states === null ? null : states.map(toRecordStatus)

/** Whether only cancelled jobs are wanted: they have a status that others have too. */
export const isCancelledOnly = ({ states }: ListFilter): boolean =>
  states?.every(state => state === 'cancelled') === true

const newestFirst = (a: ListPosition, b: ListPosition): number =>
  a.createdMs === b.createdMs ? b.seq - a.seq : b.createdMs - a.createdMs

/** The list of earlier jobs begins where that of all reaches their time. */
const startOf = (after: ListPosition | null, { createdBefore }: ListFilter): ListPosition | null => {
  if (createdBefore === null) return after
  const first = { createdMs: createdBefore, seq: Number.MIN_SAFE_INTEGER }
  return after === null || newestFirst(after, first) < 0 ? first : after
}

// The page of several searches ends where one of them gave up: behind that place, it may have something newer.
const merge = (sides: Found[], limit: number): PageRows => {
  const [bound] = sides.flatMap(({ gaveUpAt }) => gaveUpAt ?? []).toSorted(newestFirst)
  const rows = sides.flatMap(side => side.rows).toSorted(newestFirst)
    .filter(row => bound === undefined || newestFirst(row, bound) <= 0)
  const page = rows.slice(0, limit)
  return { rows: page, next: rows.length > limit ? page.at(-1) ?? null : bound ?? null }
}

const toBounds = (range: Range, after: ListPosition | null, { createdAfter }: ListFilter): Bounds => {
  const { createdMs, seq } = after ?? latest
  // The position is inside the range of its own time, and before the first row of any other.
  return { createdMs, seq: range === 'sameTime' ? seq : anySeq, createdAfter: createdAfter ?? anyTime }
}

function * searchOwner (
  owner: Owner, filter: ListFilter, after: ListPosition | null, limit: number
): Generator<Search, Found, Found> {
  const rows: ListPosition[] = []
  for (const range of rangesAfter(after)) {
    const found = yield { owner, range, bounds: toBounds(range, after, filter), limit: limit - rows.length }
    rows.push(...found.rows)
    if (rows.length === limit || found.gaveUpAt !== null) return { rows, gaveUpAt: found.gaveUpAt }
  }
  return { rows, gaveUpAt: null }
}

/**
 * Finds a page by searches, each of which depends on what those before it found. The caller runs them and passes in
 * what they find: a generator, because SQLite answers synchronously, inside its transaction, and Postgres does not.
 */
export function * searchPage (
  filter: ListFilter, after: ListPosition | null, limit: number
): Generator<Search, PageRows, Found> {
  const owners: readonly Owner[] = filter.tenant === null ? ['all'] : ['tenant', 'null', 'empty']
  const from = startOf(after, filter)
  const sides: Found[] = []
  // One row more than the page holds shows whether more follow.
  for (const owner of owners) sides.push(yield * searchOwner(owner, filter, from, limit + 1))
  return merge(sides, limit)
}

/** The page of rows that were found by their ids, and so in any order and of any time. */
export const toPageRows = (
  found: readonly ListPosition[], { createdAfter, createdBefore }: ListFilter, after: ListPosition | null, limit: number
): PageRows => {
  const sorted = found
    .filter(row => after === null || newestFirst(row, after) > 0)
    .filter(({ createdMs }) => createdMs > (createdAfter ?? -Infinity) && createdMs < (createdBefore ?? Infinity))
    .toSorted(newestFirst)
  const rows = sorted.slice(0, limit)
  return { rows, next: sorted.length > limit ? rows.at(-1) ?? null : null }
}

/** Whether a Failed job was cancelled depends on how the time of its cancellation is read. */
export const isOfState = (lookup: JobLookup, states: readonly JobState[] | null): boolean =>
  states === null || (lookup.kind === 'job' && states.includes(lookup.job.state))
