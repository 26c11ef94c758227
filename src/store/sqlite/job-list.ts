import type { ListPosition } from '../../job/list-position.ts'
import type { ListFilter, ListJobs, ListPage } from '../store.ts'
import type { Database } from './database.ts'
import { recordOfRowQuery, type RecordWithFacts, toRecord } from './record-query.ts'
import { guardRead } from './transact.ts'

/** `rowsLookedAtMax`: of one stretch of one index, before a page is given up as it is. */
export type ListJobsNeeds = { database: Database, rowsExaminedMax?: number }

// 5,000 take a millisecond or two, during which nothing else is answered.
const rowsExaminedMaxDefault = 5000

type Parameters = {
  tenant: string | null
  createdMs: number | null
  row: number
  createdAfter: number
  status: string | null
  type: string | null
  limit: number
}

/** Part of one index: the rows that fit, and where the search was given up; null: it came to the end, or found enough. */
type Found = { rows: ListPosition[], gaveUpAt: ListPosition | null }

/*
 * An index is read in up to three stretches, each a range that SQLite finds by a search: the rest of the rows created
 * in the same millisecond (a statement that inserts a million rows gives them all one time, so they cannot just be
 * skipped), those created before, and those whose time is none. One comparison of rows, (createdMs, rowid) < (?, ?),
 * would pass over all rows of that millisecond again for every page.
 */
const stretches = {
  sameTime: 'createdMs = :createdMs AND rowid < :row AND createdMs > :createdAfter',
  before: 'createdMs < :createdMs AND createdMs > :createdAfter',
  untimed: 'createdMs IS NULL AND rowid < :row'
} as const
type Stretch = keyof typeof stretches

const anyTime = Number.MIN_SAFE_INTEGER
const anyRow = Number.MAX_SAFE_INTEGER
const latest: ListPosition = { createdMs: Number.MAX_SAFE_INTEGER, row: anyRow }

const stretchesAfter = (after: ListPosition | null, createdAfter: number | null): Stretch[] => {
  if (after?.createdMs === null) return createdAfter === null ? ['untimed'] : []
  const timed: Stretch[] = after === null ? ['before'] : ['sameTime', 'before']
  return createdAfter === null ? [...timed, 'untimed'] : timed
}

const createSearch = ({ reader }: Database, owned: string, rowsLookedAtMax: number) => (stretch: Stretch) => {
  const examined = `
    SELECT createdMs, rowid AS row, status, type FROM JobExecutionLog
    WHERE ${owned} AND ${stretches[stretch]} ORDER BY createdMs DESC, rowid DESC LIMIT ${rowsLookedAtMax}`
  const matching = reader.prepare<[Parameters], ListPosition>(`
    SELECT createdMs, row FROM (${examined})
    WHERE (:status IS NULL OR status = :status) AND (:type IS NULL OR type = :type) LIMIT :limit`)
  const lastExamined = reader.prepare<[Parameters], ListPosition>(`
    SELECT createdMs, row FROM (${examined}) LIMIT 1 OFFSET ${rowsLookedAtMax - 1}`)
  return (parameters: Parameters): Found => {
    const rows = matching.all(parameters)
    return { rows, gaveUpAt: rows.length === parameters.limit ? null : lastExamined.get(parameters) ?? null }
  }
}

type Search = (filter: ListFilter, after: ListPosition | null, limit: number) => Found

/** The rows of one owner, through the index that has them in order. */
const createSide = (database: Database, owned: string, rowsLookedAtMax: number): Search => {
  const toSearch = createSearch(database, owned, rowsLookedAtMax)
  const searches = { sameTime: toSearch('sameTime'), before: toSearch('before'), untimed: toSearch('untimed') }
  return (filter, after, limit) => {
    const rows: ListPosition[] = []
    const { createdMs, row } = after ?? latest
    for (const stretch of stretchesAfter(after, filter.createdAfter)) {
      const found = searches[stretch]({
        ...filter,
        createdMs,
        // In the stretch of its own time the position is in the middle, in any other before the first row.
        row: stretch === 'sameTime' || createdMs === null ? row : anyRow,
        createdAfter: filter.createdAfter ?? anyTime,
        limit: limit - rows.length
      })
      rows.push(...found.rows)
      if (rows.length === limit || found.gaveUpAt !== null) return { rows, gaveUpAt: found.gaveUpAt }
    }
    return { rows, gaveUpAt: null }
  }
}

const newestFirst = (a: ListPosition, b: ListPosition): number => {
  if (a.createdMs === b.createdMs) return b.row - a.row
  if (a.createdMs === null || b.createdMs === null) return a.createdMs === null ? 1 : -1
  return b.createdMs - a.createdMs
}

// Nothing older than where one side was given up may be shown yet: that side may have something newer.
const merge = (sides: Found[], limit: number): { rows: ListPosition[], next: ListPosition | null } => {
  const [bound] = sides.flatMap(({ gaveUpAt }) => gaveUpAt ?? []).toSorted(newestFirst)
  const rows = sides.flatMap(side => side.rows).toSorted(newestFirst)
    .filter(row => bound === undefined || newestFirst(row, bound) <= 0)
  const page = rows.slice(0, limit)
  return { rows: page, next: rows.length > limit ? page.at(-1) ?? null : bound ?? null }
}

/** The list of all jobs. */
export const createListJobs = ({ database, rowsExaminedMax = rowsExaminedMaxDefault }: ListJobsNeeds): ListJobs => {
  const { reader, writer } = database
  const sideOf = (owned: string) => createSide(database, owned, rowsExaminedMax)
  const [ofAll, ofTenant, ofNone] = [sideOf('1'), sideOf('tenant = :tenant'), sideOf('tenant IS NULL')]
  const record = reader.prepare<[number], RecordWithFacts>(recordOfRowQuery(writer).compile().sql)

  const read = reader.transaction((filter: ListFilter, after: ListPosition | null, limit: number): ListPage => {
    // One more than fits shows whether there are more.
    const sides = (filter.tenant === null ? [ofAll] : [ofTenant, ofNone]).map(search => search(filter, after, limit + 1))
    const { rows, next } = merge(sides, limit)
    const lookups = rows.flatMap(({ row }) => {
      const found = record.get(row)
      return found === undefined ? [] : [toRecord(found)]
    })
    return { lookups, next }
  })
  return async (filter, after, limit) => guardRead(() => read(filter, after, limit))
}
