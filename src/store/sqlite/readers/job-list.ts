import type { ListPosition } from '../../../job/list-position.ts'
import {
  anySeq, anyTime, type Found, idsExaminedMax, isCancelledOnly, isOfState, latest, merge, newestFirst, type Range, rangesAfter,
  rowsExaminedMaxDefault, startOf, textBytesMax, toStatuses
} from '../../list-pages.ts'
import type { ListFilter, ListJobs, ListPage } from '../../store.ts'
import type { Database } from '../database.ts'
import { isOfType } from './column-filters.ts'
import { recordOfSeqQuery, type RecordWithFacts, textBytesOfSeqQuery, toRecord } from '../../record-query.ts'
import { guardRead } from '../transact.ts'

/** `rowsExaminedMax` bounds the rows read from one range of one index for a page. */
export type ListJobsNeeds = { database: Database, rowsExaminedMax?: number }

type Parameters = {
  tenant: string | null
  createdMs: number
  seq: number
  createdAfter: number
  /** With a comma before and behind each. */
  statuses: string | null
  cancelledOnly: 0 | 1
  type: string | null
  idPrefix: string | null
  limit: number
}

// As list-pages.ts describes them.
const ranges: Record<Range, string> = {
  sameTime: 'createdMs = :createdMs AND seq < :seq AND createdMs > :createdAfter',
  before: 'createdMs < :createdMs AND createdMs > :createdAfter'
}

const matches = `
  isIncluded AND (:statuses IS NULL OR instr(:statuses, ',' || status || ',')) AND ${isOfType}
  AND (:idPrefix IS NULL OR substr(jobId, 1, length(:idPrefix)) = :idPrefix)`
const isIncluded = "NOT :cancelledOnly OR typeof(cancelledAt) <> 'null' AS isIncluded"

const toConditions = (filter: ListFilter) => ({
  tenant: filter.tenant,
  type: filter.type,
  idPrefix: filter.idPrefix,
  statuses: toStatuses(filter.states)?.map(status => `,${status},`).join('') ?? null,
  cancelledOnly: isCancelledOnly(filter) ? 1 : 0
} as const)

const createSearch = ({ reader }: Database, owned: string, rowsExaminedMax: number) => (range: Range) => {
  const examined = `
    SELECT createdMs, seq, status, type, jobId AS jobId, ${isIncluded} FROM JobExecutionLog
    WHERE ${owned} AND ${ranges[range]} ORDER BY createdMs DESC, seq DESC LIMIT ${rowsExaminedMax}`
  const matching = reader.prepare<[Parameters], ListPosition>(`
    SELECT createdMs, seq FROM (${examined}) WHERE ${matches} LIMIT :limit`)
  const lastExamined = reader.prepare<[Parameters], ListPosition>(`
    SELECT createdMs, seq FROM (${examined}) LIMIT 1 OFFSET ${rowsExaminedMax - 1}`)
  return (parameters: Parameters): Found => {
    const rows = matching.all(parameters)
    return { rows, gaveUpAt: rows.length === parameters.limit ? null : lastExamined.get(parameters) ?? null }
  }
}

type Search = (filter: ListFilter, after: ListPosition | null, limit: number) => Found

/** The rows of one owner, through the index that has them in order. */
const createSide = (database: Database, owned: string, rowsExaminedMax: number): Search => {
  const toSearch = createSearch(database, owned, rowsExaminedMax)
  const searches = { sameTime: toSearch('sameTime'), before: toSearch('before') }
  return (filter, after, limit) => {
    const rows: ListPosition[] = []
    const { createdMs, seq } = after ?? latest
    for (const range of rangesAfter(after)) {
      const found = searches[range]({
        ...toConditions(filter),
        createdMs,
        // The position is inside the range of its own time, and before the first row of any other.
        seq: range === 'sameTime' ? seq : anySeq,
        createdAfter: filter.createdAfter ?? anyTime,
        limit: limit - rows.length
      })
      rows.push(...found.rows)
      if (rows.length === limit || found.gaveUpAt !== null) return { rows, gaveUpAt: found.gaveUpAt }
    }
    return { rows, gaveUpAt: null }
  }
}

type Conditions = ReturnType<typeof toConditions>

/**
 * The rows whose ids begin with a text, through the index of the ids; null if there are so many that the lists in their
 * order find some of them soon.
 */
const createSearchById = ({ reader }: Database, rowsExaminedMax: number) => {
  const rowsMax = Math.min(rowsExaminedMax, idsExaminedMax)
  // No character of an id comes after ~.
  const examined = `
    FROM JobExecutionLog WHERE jobId >= :idPrefix AND jobId < :idPrefix || char(127) LIMIT ${rowsMax + 1}`
  const count = reader.prepare<[Conditions], number>(`SELECT count(*) FROM (SELECT 1 ${examined})`).pluck()
  const matching = reader.prepare<[Conditions], ListPosition>(`
    SELECT createdMs, seq
    FROM (SELECT createdMs, seq, status, type, tenant, jobId AS jobId, ${isIncluded} ${examined})
    WHERE (:tenant IS NULL OR tenant IS NULL OR tenant = '' OR tenant = :tenant) AND ${matches}`)
  return (filter: ListFilter, after: ListPosition | null): ListPosition[] | null => {
    const conditions = toConditions(filter)
    if (filter.idPrefix === null || (count.get(conditions) ?? 0) > rowsMax) return null
    const { createdAfter, createdBefore } = filter
    return matching.all(conditions)
      .filter(row => after === null || newestFirst(row, after) > 0)
      .filter(({ createdMs }) => createdMs > (createdAfter ?? -Infinity) && createdMs < (createdBefore ?? Infinity))
      .toSorted(newestFirst)
  }
}

/** Reads the records of a page, which ends before the texts of its rows exceed their bound. It has at least one. */
const createReadRecords = ({ reader, writer }: Database) => {
  const record = reader.prepare<[number], RecordWithFacts>(recordOfSeqQuery(writer).compile().sql)
  const textBytes = reader.prepare<[number], number>(textBytesOfSeqQuery(writer).compile().sql).pluck()
  return (rows: readonly ListPosition[], next: ListPosition | null, { states }: ListFilter): ListPage => {
    const page: ListPage = { lookups: [], positions: [], next }
    let bytes = 0
    for (const [index, position] of rows.entries()) {
      bytes += textBytes.get(position.seq) ?? 0
      if (index > 0 && bytes > textBytesMax) return { ...page, next: rows[index - 1] ?? null }
      const found = record.get(position.seq)
      const lookup = found === undefined ? undefined : toRecord(found)
      if (lookup === undefined || !isOfState(lookup, states)) continue
      page.lookups.push(lookup)
      page.positions.push(position)
    }
    return page
  }
}

/**
 * Statements per owner and range are prepared once. The owners are all, one tenant, and none: null, or the empty text
 * that some programs write instead.
 */
export const createListJobs = ({ database, rowsExaminedMax = rowsExaminedMaxDefault }: ListJobsNeeds): ListJobs => {
  const readRecords = createReadRecords(database)
  const searchById = createSearchById(database, rowsExaminedMax)
  const sideOf = (owned: string) => createSide(database, owned, rowsExaminedMax)
  const ofAll = sideOf('1')
  const readable = [sideOf('tenant = :tenant'), sideOf('tenant IS NULL'), sideOf("tenant = ''")]

  const read = database.reader.transaction((filter: ListFilter, after: ListPosition | null, limit: number): ListPage => {
    const found = searchById(filter, after)
    if (found !== null) {
      const rows = found.slice(0, limit)
      return readRecords(rows, found.length > limit ? rows.at(-1) ?? null : null, filter)
    }
    const from = startOf(after, filter)
    // One row more than the page holds shows whether more follow.
    const sides = (filter.tenant === null ? [ofAll] : readable).map(
      search => search(filter, from, limit + 1)
    )
    const { rows, next } = merge(sides, limit)
    return readRecords(rows, next, filter)
  })
  return async (filter, after, limit) => guardRead(database, () => read(filter, after, limit))
}
