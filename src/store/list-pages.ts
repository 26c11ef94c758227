import { type JobLookup, type JobState, toRecordStatus } from '../job/job.ts'
import type { ListPosition } from '../job/list-position.ts'
import type { ListFilter } from './store.ts'

/*
 * How a list is put together from the indexes of the record, on any database.
 *
 * An index is read in up to two ranges, each of which the database finds by a search: the rest of the rows created in the
 * same millisecond, and those created before. One comparison of rows, (createdMs, seq) < (?, ?), would examine all rows
 * of that millisecond again for each page, and a statement that inserts a million rows gives them all one time.
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

export const anyTime = Number.MIN_SAFE_INTEGER
export const anySeq = Number.MAX_SAFE_INTEGER
export const latest: ListPosition = { createdMs: Number.MAX_SAFE_INTEGER, seq: anySeq }

export const rangesAfter = (after: ListPosition | null): Range[] => after === null ? ['before'] : ['sameTime', 'before']

/** The statuses of these states; null for any. */
export const toStatuses = (states: readonly JobState[] | null): string[] | null =>
  states === null ? null : states.map(toRecordStatus)

/** Whether only cancelled jobs are wanted: they have a status that others have too. */
export const isCancelledOnly = ({ states }: ListFilter): boolean =>
  states?.every(state => state === 'cancelled') === true

export const newestFirst = (a: ListPosition, b: ListPosition): number =>
  a.createdMs === b.createdMs ? b.seq - a.seq : b.createdMs - a.createdMs

/** The list of earlier jobs begins where that of all reaches their time. */
export const startOf = (after: ListPosition | null, { createdBefore }: ListFilter): ListPosition | null => {
  if (createdBefore === null) return after
  const first = { createdMs: createdBefore, seq: Number.MIN_SAFE_INTEGER }
  return after === null || newestFirst(after, first) < 0 ? first : after
}

/**
 * The page of several searches. It ends where one of them gave up: behind that place, it may have something newer.
 */
export const merge = (sides: Found[], limit: number): { rows: ListPosition[], next: ListPosition | null } => {
  const [bound] = sides.flatMap(({ gaveUpAt }) => gaveUpAt ?? []).toSorted(newestFirst)
  const rows = sides.flatMap(side => side.rows).toSorted(newestFirst)
    .filter(row => bound === undefined || newestFirst(row, bound) <= 0)
  const page = rows.slice(0, limit)
  return { rows: page, next: rows.length > limit ? page.at(-1) ?? null : bound ?? null }
}

/** Whether a Failed job was cancelled depends on how the time of its cancellation is read. */
export const isOfState = (lookup: JobLookup, states: readonly JobState[] | null): boolean =>
  states === null || (lookup.kind === 'job' && states.includes(lookup.job.state))
