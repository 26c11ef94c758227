import SqliteDatabase from 'better-sqlite3'
import type { Access } from '../../../job/input.ts'
import type { Chunk } from '../../chunks.ts'
import { failureBytesMax, failureTextMax } from '../../cut-failure.ts'
import { pageRows, readChunks, type StoredRow, toRecordRow } from '../../read-only-store.ts'
import { textMax } from '../../records.ts'
import type { ReadOnlyStore, RecordPages, RecordRow, StoredBytes } from '../../store.ts'
import { isOfType } from './column-filters.ts'

// One statement serves every tenant and every type. The + keeps SQLite from an index on tenant or type, which would
// sort the rows of a tenant again for each page.
const isReadable =
  `(:allTenants = 1 OR +tenant IS NULL OR +tenant IN ('', :tenant)) AND ${isOfType}`

// A time that is cut is none.
const cut = (column: string, lengthMax: number) =>
  `CASE typeof(${column}) WHEN 'text' THEN substr(${column}, 1, ${lengthMax + 1}) WHEN 'blob' THEN NULL
    ELSE ${column} END AS ${column}`

type Connection = SqliteDatabase.Database

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
      for (const row of page.iterate({ ...filter, after, end })) rows.push(toRecordRow(row))
      yield rows
      after = end
    }
  }
  return { total, pages: pages() }
}

const readInput = (database: Connection, stored: StoredBytes): AsyncGenerator<Uint8Array, void> => {
  const chunksAt = database.prepare<[string, number], Chunk>(
    'SELECT startOffset, bytes FROM JobInputChunk WHERE inputId = ? AND startOffset = ?'
  )
  return readChunks(stored, offset => chunksAt.all(stored.inputId, offset))
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
    readInput: async function * (stored) { yield * readInput(connect(), stored) },
    close: async () => { database?.close() }
  }
}
