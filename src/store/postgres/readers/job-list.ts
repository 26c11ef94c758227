import { type RawBuilder, sql } from 'kysely'
import type { JobLookup } from '../../../job/job.ts'
import type { ListPosition } from '../../../job/list-position.ts'
import {
  type Bounds, type Found, idsExaminedMax, isCancelledOnly, isOfState, type Owner, type PageRows, type Range,
  rowsExaminedMaxDefault, type Search, searchPage, textBytesMax, toPageRows, toStatuses
} from '../../list-pages.ts'
import { selectWithFacts, toRecord } from '../../sql/record-query.ts'
import type { ListFilter, ListJobs, ListPage, Tx } from '../../store.ts'
import { selectTextBytes } from '../../sql/text-bytes.ts'
import type { Database } from '../database.ts'
import { readSnapshot } from '../reads.ts'

/** `rowsExaminedMax` bounds the rows read from one range of one index for a page. */
export type ListJobsNeeds = { database: Database, rowsExaminedMax?: number }

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

// The index has the beginning of a tenant, because another program may have written one of any length.
const indexed = sql`left(tenant, 257)`

const owned: Record<Owner, (filter: ListFilter) => RawBuilder<unknown>> = {
  all: () => sql`true`,
  tenant: ({ tenant }) => sql`${indexed} = left(${tenant}, 257) AND tenant = ${tenant}`,
  null: () => sql`${indexed} IS NULL`,
  empty: () => sql`${indexed} = ''`
}

const createSearches = (rowsExaminedMax: number) => {
  const search = async (tx: Tx, filter: ListFilter, { owner, range, bounds, limit }: Search): Promise<Found> => {
    const examined = sql`
      SELECT ${columns} FROM JobExecutionLog WHERE ${owned[owner](filter)} AND ${ranges[range](bounds)}
      ORDER BY createdMs DESC, seq DESC LIMIT ${sql.lit(rowsExaminedMax)}`
    const { rows } = await sql<ListPosition>`
      SELECT ${position} FROM (${examined}) AS examined WHERE ${matches(filter)} LIMIT ${limit}`.execute(tx)
    if (rows.length === limit) return { rows, gaveUpAt: null }
    const { rows: [lastExamined = null] } = await sql<ListPosition>`
      SELECT ${position} FROM (${examined}) AS examined LIMIT 1 OFFSET ${sql.lit(rowsExaminedMax - 1)}`.execute(tx)
    return { rows, gaveUpAt: lastExamined }
  }

  /**
   * The rows whose ids begin with a text, through the index of the ids; null if there are so many that the lists in
   * their order find some of them soon.
   */
  const searchById = async (tx: Tx, filter: ListFilter): Promise<ListPosition[] | null> => {
    const { idPrefix, tenant } = filter
    if (idPrefix === null) return null
    const rowsMax = Math.min(rowsExaminedMax, idsExaminedMax)
    // No character of an id comes after ~.
    const examined = sql`
      SELECT ${columns} FROM JobExecutionLog WHERE jobId >= ${idPrefix} AND jobId < ${`${idPrefix}\x7f`}
      LIMIT ${sql.lit(rowsMax + 1)}`
    const { rows: [counted] } = await sql<{ count: number }>`
      SELECT count(*) AS count FROM (${examined}) AS examined`.execute(tx)
    if ((counted?.count ?? 0) > rowsMax) return null
    const readable = tenant === null ? sql`true` : sql`(tenant IS NULL OR tenant = '' OR tenant = ${tenant})`
    const { rows } = await sql<ListPosition>`
      SELECT ${position} FROM (${examined}) AS examined WHERE ${readable} AND ${matches(filter)}`.execute(tx)
    return rows
  }
  return { search, searchById }
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
  tx: Tx, { rows, next }: PageRows, { states }: ListFilter
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
  const { search, searchById } = createSearches(rowsExaminedMax)
  return (filter, after, limit) => readSnapshot(database.reads, async tx => {
    const found = await searchById(tx, filter)
    if (found !== null) return await readRecords(tx, toPageRows(found, filter, after, limit), filter)
    const searching = searchPage(filter, after, limit)
    let step = searching.next()
    while (!step.done) step = searching.next(await search(tx, filter, step.value))
    return await readRecords(tx, step.value, filter)
  })
}
