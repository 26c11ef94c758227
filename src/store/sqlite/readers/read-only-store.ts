import SqliteDatabase from 'better-sqlite3'
import type { Access } from '../../../job/input.ts'
import { toText } from '../../../job/recorded/values.ts'
import { toTime } from '../../../job/time.ts'
import { failureBytesMax, failureTextMax } from '../../cut-failure.ts'
import { textMax, toFailureCode } from '../../records.ts'
import type { ReadOnlyStore, RecordPages, RecordRow, StoredBytes } from '../../store.ts'
import type { JobRow } from '../../tables.ts'
import { isOfType } from './column-filters.ts'

/** Rows read in one transaction for one page. */
const pageRows = 2000

// One statement serves every tenant and every type. The + keeps SQLite from an index on tenant or type, which would
// sort the rows of a tenant again for each page.
const isReadable =
  `(:allTenants = 1 OR +tenant IS NULL OR +tenant IN ('', :tenant)) AND ${isOfType}`

// A time that is cut is none.
const cut = (column: string, lengthMax: number) =>
  `CASE typeof(${column}) WHEN 'text' THEN substr(${column}, 1, ${lengthMax + 1}) WHEN 'blob' THEN NULL
    ELSE ${column} END AS ${column}`

type Connection = SqliteDatabase.Database

type StoredRow = Pick<JobRow, 'type' | 'status' | 'startTime' | 'endTime' | 'createdMs' | 'errorDetails'>

const toRow = ({ status, createdMs, ...row }: StoredRow): RecordRow => ({
  type: toText(row.type),
  status,
  startedAt: toTime(row.startTime),
  finishedAt: toTime(row.endTime),
  createdAt: createdMs,
  failureCode: status === 'Failed' ? toFailureCode(row.errorDetails) : null
})

// A page ends after `pageRows` rows of any tenant, so that it costs the same for every reader. The aliases are for
// tables that another program made, with names in any case.
const readRecords = (database: Connection, { tenant, allTenants }: Access, type: string | undefined): RecordPages => {
  const filter = { allTenants: allTenants ? 1 : 0, tenant, type: type ?? null }
  const last = database.prepare<[], number | null>('SELECT max(seq) FROM JobExecutionLog').pluck().get() ?? 0
  const total = database.prepare<[object], number>(
    `SELECT count(*) FROM JobExecutionLog WHERE +seq <= :last AND ${isReadable}`
  ).pluck().get({ ...filter, last }) ?? 0
  const pageEnd = database.prepare<[object], number | null>(`
    SELECT max(seq) FROM (
      SELECT seq FROM JobExecutionLog WHERE seq > :after AND seq <= :last ORDER BY seq LIMIT :pageRows)`).pluck()
  const page = database.prepare<[object], StoredRow>(`
    SELECT ${cut('type', textMax.type)}, status AS status, ${cut('startTime', textMax.time)},
      ${cut('endTime', textMax.time)}, createdMs AS createdMs,
      CASE WHEN status = 'Failed' AND octet_length(errorDetails) <= ${failureBytesMax}
        THEN substr(errorDetails, 1, ${failureTextMax + 1}) END AS errorDetails
    FROM JobExecutionLog
    WHERE seq > :after AND seq <= :end AND ${isReadable}`)

  async function * pages (): AsyncGenerator<RecordRow[]> {
    let after = Number.MIN_SAFE_INTEGER
    for (;;) {
      const end = pageEnd.get({ after, last, pageRows }) ?? null
      if (end === null) return
      const rows: RecordRow[] = []
      // One row in memory at a time: failures may be long.
      for (const row of page.iterate({ ...filter, after, end })) rows.push(toRow(row))
      yield rows
      after = end
    }
  }
  return { total, pages: pages() }
}

async function * readChunks (
  database: Connection, { inputId, sizeBytes }: StoredBytes
): AsyncGenerator<Uint8Array, void> {
  const chunkAt = database.prepare<[string, number], Uint8Array>(
    'SELECT bytes FROM JobInputChunk WHERE inputId = ? AND startOffset = ?'
  ).pluck()
  let offset = 0
  while (offset < sizeBytes) {
    const bytes = chunkAt.get(inputId, offset)
    // The job was erased meanwhile, for example.
    if (bytes === undefined || bytes.byteLength === 0) throw new Error('A chunk of the input is missing.')
    offset += bytes.byteLength
    if (offset > sizeBytes) throw new Error('The input is longer than it was.')
    yield bytes
  }
}

/** The ReadOnlyStore of a SQLite file. Reads wait for a locked file: only a thread that may block should use it. */
export const openReadOnlyStore = (databasePath: string): ReadOnlyStore => {
  let database: Connection | undefined
  const connect = () => {
    database ??= new SqliteDatabase(databasePath, { readonly: true, fileMustExist: true })
    return database
  }
  return {
    records: async (access, type) => readRecords(connect(), access, type),
    readInput: async function * (stored) { yield * readChunks(connect(), stored) },
    close: async () => { database?.close() }
  }
}
