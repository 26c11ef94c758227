import { type RawBuilder, sql } from 'kysely'
import type { JobLookup } from '../../../job/job.ts'
import type { ListPosition } from '../../../job/list-position.ts'
import {
  anySeq, anyTime, type Found, idsExaminedMax, isCancelledOnly, isOfState, latest, merge, newestFirst, type Range,
  rangesAfter, rowsExaminedMaxDefault, startOf, textBytesMax, toStatuses
} from '../../list-pages.ts'
import { selectWithFacts, toRecord } from '../../record-query.ts'
import type { ListFilter, ListJobs, ListPage, Tx } from '../../store.ts'
import { selectTextBytes } from '../../tx/text-bytes.ts'
import type { Database } from '../database.ts'
import { readSnapshot } from '../reads.ts'

/** `rowsExaminedMax` bounds the rows read from one range of one index for a page. */
export type ListJobsNeeds = { database: Database, rowsExaminedMax?: number }

type Bounds = ListPosition & { createdAfter: number }

// As list-pages.ts describes them.
const ranges: Record<Range, (bounds: Bounds) => RawBuilder<unknown>> = {
  sameTime: ({ createdMs, seq, createdAfter }) =>
    sql`createdMs = ${createdMs} AND seq < ${seq} AND createdMs > ${createdAfter}`,
  before: ({ createdMs, createdAfter }) => sql`createdMs < ${createdMs} AND createdMs > ${createdAfter}`
}

const columns = sql`createdMs, seq, status, type, tenant, jobId, cancelledAt`
const position = sql`createdMs AS "createdMs", seq AS "seq"`

/** What of the filter no index has. */
const matches = (filter: ListFilter): RawBuilder<unknown> => {
  const conditions = [sql`true`]
  const statuses = toStatuses(filter.states)
  if (statuses !== null) conditions.push(sql`status = ANY(${statuses}::text[])`)
  if (isCancelledOnly(filter)) conditions.push(sql`cancelledAt IS NOT NULL`)
  // An empty text is shown as none.
  if (filter.type !== null) conditions.push(sql`nullif(type, '') = ${filter.type}`)
  if (filter.idPrefix !== null) conditions.push(sql`starts_with(jobId, ${filter.idPrefix})`)
  return sql.join(conditions, sql` AND `)
}

/** The rows of one owner. */
type Owned = (filter: ListFilter) => RawBuilder<unknown>

// The index has the beginning of a tenant, because another program may have written one of any length.
const indexed = sql`left(tenant, 257)`

const ofAll: Owned = () => sql`true`
const readable: readonly Owned[] = [
  ({ tenant }) => sql`${indexed} = left(${tenant}, 257) AND tenant = ${tenant}`,
  () => sql`${indexed} IS NULL`,
  () => sql`${indexed} = ''`
]

const createList = (rowsExaminedMax: number) => {
  const searchRange = async (
    tx: Tx, owned: RawBuilder<unknown>, range: Range, bounds: Bounds, filter: ListFilter, limit: number
  ): Promise<Found> => {
    const examined = sql`
      SELECT ${columns} FROM JobExecutionLog WHERE ${owned} AND ${ranges[range](bounds)}
      ORDER BY createdMs DESC, seq DESC LIMIT ${sql.lit(rowsExaminedMax)}`
    const { rows } = await sql<ListPosition>`
      SELECT ${position} FROM (${examined}) AS examined WHERE ${matches(filter)} LIMIT ${limit}`.execute(tx)
    if (rows.length === limit) return { rows, gaveUpAt: null }
    const { rows: [lastExamined = null] } = await sql<ListPosition>`
      SELECT ${position} FROM (${examined}) AS examined LIMIT 1 OFFSET ${sql.lit(rowsExaminedMax - 1)}`.execute(tx)
    return { rows, gaveUpAt: lastExamined }
  }

  /** The rows of one owner, through the index that has them in order. */
  const searchSide = async (
    tx: Tx, owned: Owned, filter: ListFilter, after: ListPosition | null, limit: number
  ): Promise<Found> => {
    const rows: ListPosition[] = []
    const { createdMs, seq } = after ?? latest
    for (const range of rangesAfter(after)) {
      const bounds = {
        createdMs, seq: range === 'sameTime' ? seq : anySeq, createdAfter: filter.createdAfter ?? anyTime
      }
      const found = await searchRange(tx, owned(filter), range, bounds, filter, limit - rows.length)
      rows.push(...found.rows)
      if (rows.length === limit || found.gaveUpAt !== null) return { rows, gaveUpAt: found.gaveUpAt }
    }
    return { rows, gaveUpAt: null }
  }

  /**
   * The rows whose ids begin with a text, through the index of the ids; null if there are so many that the lists in
   * their order find some of them soon.
   */
  const searchById = async (tx: Tx, filter: ListFilter, after: ListPosition | null): Promise<ListPosition[] | null> => {
    const { idPrefix, tenant, createdAfter, createdBefore } = filter
    if (idPrefix === null) return null
    const rowsMax = Math.min(rowsExaminedMax, idsExaminedMax)
    // No character of an id comes after ~.
    const examined = sql`
      SELECT ${columns} FROM JobExecutionLog WHERE jobId >= ${idPrefix} AND jobId < ${`${idPrefix}\x7f`}
      LIMIT ${sql.lit(rowsMax + 1)}`
    const { rows: [counted] } = await sql<{ count: number }>`
      SELECT count(*) AS count FROM (${examined}) AS examined`.execute(tx)
    if ((counted?.count ?? 0) > rowsMax) return null
    const owned = tenant === null ? sql`true` : sql`(tenant IS NULL OR tenant = '' OR tenant = ${tenant})`
    const { rows } = await sql<ListPosition>`
      SELECT ${position} FROM (${examined}) AS examined WHERE ${owned} AND ${matches(filter)}`.execute(tx)
    return rows
      .filter(row => after === null || newestFirst(row, after) > 0)
      .filter(({ createdMs }) => createdMs > (createdAfter ?? -Infinity) && createdMs < (createdBefore ?? Infinity))
      .toSorted(newestFirst)
  }
  return { searchSide, searchById }
}

// One parameter, however many there are: a list of values would make a statement of its own for each length.
const anyOf = (rows: readonly ListPosition[]) => sql<number>`ANY(${rows.map(({ seq }) => seq)}::bigint[])`

/** Which rows of a page fit into the bound of its texts: the first ones, at least one. */
const countFitting = async (tx: Tx, rows: readonly ListPosition[]): Promise<number> => {
  const found = await selectTextBytes(tx).select('seq').where('seq', '=', anyOf(rows)).execute()
  const bytesOf = new Map(found.map(({ seq, bytes }) => [seq, bytes]))
  let bytes = 0
  const over = rows.findIndex(({ seq }, index) => {
    bytes += bytesOf.get(seq) ?? 0
    return index > 0 && bytes > textBytesMax
  })
  return over === -1 ? rows.length : over
}

/** Reads the records of a page, which ends before the texts of its rows exceed their bound. */
const readRecords = async (
  tx: Tx, rows: readonly ListPosition[], next: ListPosition | null, { states }: ListFilter
): Promise<ListPage> => {
  if (rows.length === 0) return { lookups: [], positions: [], next }
  const fitting = rows.slice(0, await countFitting(tx, rows))
  const records = await selectWithFacts(tx).select('log.seq as seq').where('log.seq', '=', anyOf(fitting)).execute()
  const bySeq = new Map(records.map(({ seq, ...record }): [number, JobLookup] => [seq, toRecord(record)]))
  const page: ListPage = {
    lookups: [], positions: [], next: fitting.length < rows.length ? fitting.at(-1) ?? null : next
  }
  for (const position of fitting) {
    const lookup = bySeq.get(position.seq)
    if (lookup === undefined || !isOfState(lookup, states)) continue
    page.lookups.push(lookup)
    page.positions.push(position)
  }
  return page
}

export const createListJobs = ({ database, rowsExaminedMax = rowsExaminedMaxDefault }: ListJobsNeeds): ListJobs => {
  const { searchSide, searchById } = createList(rowsExaminedMax)
  return (filter, after, limit) => readSnapshot(database.reads, async tx => {
    const found = await searchById(tx, filter, after)
    if (found !== null) {
      const rows = found.slice(0, limit)
      return await readRecords(tx, rows, found.length > limit ? rows.at(-1) ?? null : null, filter)
    }
    const from = startOf(after, filter)
    const sides: Found[] = []
    // One row more than the page holds shows whether more follow.
    for (const owned of filter.tenant === null ? [ofAll] : readable) {
      sides.push(await searchSide(tx, owned, filter, from, limit + 1))
    }
    const { rows, next } = merge(sides, limit)
    return await readRecords(tx, rows, next, filter)
  })
}
