import type { PoolClient } from 'pg'
import type { Access } from '../../../job/input.ts'
import { failureBytesMax, failureTextMax } from '../../cut-failure.ts'
import { pageRows, readChunks, type StoredRow, toRecordRow } from '../../read-only-store.ts'
import { textMax } from '../../records.ts'
import type { ReadOnlyStore, RecordPages, RecordRow, StoredBytes } from '../../store.ts'
import { parseConnectionUrl } from '../connection-url.ts'
import { toStoreFailure } from '../failures.ts'
import { createPools } from '../pools.ts'

// Each statement is named, so that the server plans it once.
type Statement = { name: string, text: string }

// $1: tenant, $2: whether all may be read, $3: the type, or null for any.
const isReadable = "($2 OR tenant IS NULL OR tenant IN ('', $1)) AND ($3::text IS NULL OR type = $3)"

// A time that is cut is none.
const cut = (column: string, lengthMax: number) => `left(${column}, ${lengthMax + 1}) AS "${column}"`

// A record that another program inserted, and has not committed yet, may be on a page although it is not counted: `seq`
// is drawn before the commit.
const counted: Statement = {
  name: 'records counted',
  text: `SELECT (SELECT coalesce(max(seq), 0) FROM JobExecutionLog) AS last, count(*) AS total
    FROM JobExecutionLog WHERE ${isReadable}`
}

const pageEnd: Statement = {
  name: 'page end',
  text: `SELECT max(seq) AS "end" FROM (
    SELECT seq FROM JobExecutionLog WHERE seq > $1 AND seq <= $2 ORDER BY seq LIMIT ${pageRows}) AS page`
}

const page: Statement = {
  name: 'page of records',
  text: `SELECT ${cut('type', textMax.type)}, status, ${cut('startTime', textMax.time)}, ${cut('endTime', textMax.time)},
      createdMs AS "createdMs",
      CASE WHEN status = 'Failed' AND octet_length(errorDetails) <= ${failureBytesMax}
        THEN left(errorDetails, ${failureTextMax + 1}) END AS "errorDetails"
    FROM JobExecutionLog WHERE seq > $4 AND seq <= $5 AND ${isReadable} ORDER BY seq`
}

const chunkAt: Statement = {
  name: 'chunk of an input', text: 'SELECT bytes FROM JobInputChunk WHERE inputId = $1 AND startOffset = $2'
}

type Query = <Row>(statement: Statement, values: readonly unknown[]) => Promise<Row[]>

// A page ends after `pageRows` rows of any tenant, so that it costs the same for every reader.
const readRecords = async (
  query: Query, { tenant, allTenants }: Access, type: string | undefined
): Promise<RecordPages> => {
  const filter = [tenant, allTenants, type ?? null]
  const [{ last, total } = { last: 0, total: 0 }] = await query<{ last: number, total: number }>(counted, filter)
  async function * pages (): AsyncGenerator<RecordRow[]> {
    for (let after = 0; ;) {
      const [{ end } = { end: null }] = await query<{ end: number | null }>(pageEnd, [after, last])
      if (end === null) return
      yield (await query<StoredRow>(page, [...filter, after, end])).map(toRecordRow)
      after = end
    }
  }
  return { total, pages: pages() }
}

const readInput = (query: Query, stored: StoredBytes): AsyncGenerator<Uint8Array, void> => readChunks(stored, async offset =>
  (await query<{ bytes: Uint8Array }>(chunkAt, [stored.inputId, offset]))[0]?.bytes)

/** The ReadOnlyStore of a Postgres database. */
export const openReadOnlyStore = (url: string): ReadOnlyStore => {
  const { reads } = createPools(parseConnectionUrl(url))
  const query: Query = async <Row>(statement: Statement, values: readonly unknown[]) => {
    let client: PoolClient | undefined
    try {
      client = await reads.connect()
      return (await client.query({ ...statement, values: [...values] })).rows as Row[]
    } catch (error) {
      throw toStoreFailure(error)
    } finally {
      client?.release()
    }
  }
  return {
    records: (access, type) => readRecords(query, access, type),
    readInput: stored => readInput(query, stored),
    close: reads.close
  }
}
