import type { ListPosition } from '../../../job/list-position.ts'
import {
  type Bounds, type Found, idsExaminedMax, isCancelledOnly, isOfState, type Owner, type PageRows, type Range,
  rowsExaminedMaxDefault, type Search, searchPage, textBytesMax, toPageRows, toStatuses
} from '../../list-pages.ts'
import type { ListFilter, ListJobs, ListPage } from '../../store.ts'
import type { Database } from '../database.ts'
import { isOfType } from './column-filters.ts'
import { type RecordWithFacts, toRecord } from '../../sql/record-query.ts'
import { guardRead } from '../transact.ts'
import { recordOfSeqQuery, textBytesOfSeqQuery } from './prepared-queries.ts'

/** `rowsExaminedMax` bounds the rows read from one range of one index for a page. */
export type ListJobsNeeds = { database: Database, rowsExaminedMax?: number }

type Parameters = Bounds & {
  tenant: string | null
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

const owned: Record<Owner, string> = {
  all: '1', tenant: 'tenant = :tenant', null: 'tenant IS NULL', empty: "tenant = ''"
}

const prepareSearch = ({ reader }: Database, rowsExaminedMax: number, owner: Owner, range: Range) => {
  const examined = `
    SELECT createdMs, seq, status, type, jobId AS jobId, ${isIncluded} FROM JobExecutionLog
    WHERE ${owned[owner]} AND ${ranges[range]} ORDER BY createdMs DESC, seq DESC LIMIT ${rowsExaminedMax}`
  const matching = reader.prepare<[Parameters], ListPosition>(`
    SELECT createdMs, seq FROM (${examined}) WHERE ${matches} LIMIT :limit`)
  const lastExamined = reader.prepare<[Parameters], ListPosition>(`
    SELECT createdMs, seq FROM (${examined}) LIMIT 1 OFFSET ${rowsExaminedMax - 1}`)
  return (parameters: Parameters): Found => {
    const rows = matching.all(parameters)
    return { rows, gaveUpAt: rows.length === parameters.limit ? null : lastExamined.get(parameters) ?? null }
  }
}

/** Statements per owner and range are prepared once. */
const createSearch = (database: Database, rowsExaminedMax: number) => {
  const prepare = (owner: Owner) => ({
    sameTime: prepareSearch(database, rowsExaminedMax, owner, 'sameTime'),
    before: prepareSearch(database, rowsExaminedMax, owner, 'before')
  })
  const searches = { all: prepare('all'), tenant: prepare('tenant'), null: prepare('null'), empty: prepare('empty') }
  return (filter: ListFilter, { owner, range, bounds, limit }: Search): Found =>
    searches[owner][range]({ ...toConditions(filter), ...bounds, limit })
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
  return (filter: ListFilter): ListPosition[] | null => {
    const conditions = toConditions(filter)
    return filter.idPrefix === null || (count.get(conditions) ?? 0) > rowsMax ? null : matching.all(conditions)
  }
}

/** Reads the records of a page, which ends before the texts of its rows exceed their bound. It has at least one. */
const createReadRecords = ({ reader, writer }: Database) => {
  const record = reader.prepare<[number], RecordWithFacts>(recordOfSeqQuery(writer).compile().sql)
  const textBytes = reader.prepare<[number], number>(textBytesOfSeqQuery(writer).compile().sql).pluck()
  return ({ rows, next }: PageRows, { states }: ListFilter): ListPage => {
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

export const createListJobs = ({ database, rowsExaminedMax = rowsExaminedMaxDefault }: ListJobsNeeds): ListJobs => {
  const readRecords = createReadRecords(database)
  const search = createSearch(database, rowsExaminedMax)
  const searchById = createSearchById(database, rowsExaminedMax)
  const read = database.reader.transaction((filter: ListFilter, after: ListPosition | null, limit: number): ListPage => {
    const found = searchById(filter)
    if (found !== null) return readRecords(toPageRows(found, filter, after, limit), filter)
    const searching = searchPage(filter, after, limit)
    let step = searching.next()
    while (!step.done) step = searching.next(search(filter, step.value))
    return readRecords(step.value, filter)
  })
  return async (filter, after, limit) => guardRead(database, () => read(filter, after, limit))
}
