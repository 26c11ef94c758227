import { setTimeout as delay } from 'node:timers/promises'
import { type Kysely, type RawBuilder, sql } from 'kysely'
import type { Access } from '../../../job/input.ts'
import { failureBytesMax, failureTextMax } from '../../cut-failure.ts'
import { pageRows, readChunks, type StoredRow, toRecordRow } from '../../read-only-store.ts'
import { textMax } from '../../records.ts'
import type { ReadOnlyStore, RecordPages, RecordRow } from '../../store.ts'
import type { Tables } from '../../tables.ts'
import { openDatabase } from '../database.ts'
import { ConnectionLost, isStarting, ReplicaReached } from '../failures.ts'
import { guardRead } from '../reads.ts'
import { copyInputChunks } from './copy-chunks.ts'

// In ms, before each repetition: a server that restarts is back sooner.
const pausesMs = [100, 200, 400, 800, 1600, 3200]

const isOfAbsence = (error: unknown): boolean =>
  error instanceof ConnectionLost || error instanceof ReplicaReached || isStarting(error)

/**
 * Reads again if the connection was lost, so that it costs no run of a job. No read depends on what an earlier one left
 * in the session, and all are of the database that the first one has reached.
 */
const readPatiently = async <Value>(read: () => Promise<Value>): Promise<Value> => {
  for (const pauseMs of pausesMs) {
    try {
      return await read()
    } catch (error) {
      if (!isOfAbsence((error as Error).cause)) throw error
    }
    await delay(pauseMs)
  }
  return await read()
}

const isReadable = ({ tenant, allTenants }: Access, type: string | undefined) => sql`
  (${allTenants}::boolean OR tenant IS NULL OR tenant IN ('', ${tenant}))
  AND (${type ?? null}::text IS NULL OR type = ${type ?? null})`

// A time that is cut is none.
const cut = (column: string, lengthMax: number) => sql.raw(`left(${column}, ${lengthMax + 1}) AS "${column}"`)

const columns = sql`${cut('type', textMax.type)}, status, ${cut('startTime', textMax.time)},
  ${cut('endTime', textMax.time)}, createdMs AS "createdMs",
  CASE WHEN status = 'Failed' AND octet_length(errorDetails) <= ${sql.lit(failureBytesMax)}
    THEN left(errorDetails, ${sql.lit(failureTextMax + 1)}) END AS "errorDetails"`

// A page ends after `pageRows` rows of any tenant, so that it costs the same for every reader. A record that another
// program inserted, and has not committed yet, may be on a page although it is not counted: `seq` is drawn before the
// commit.
const readRecords = async (
  reads: Kysely<Tables>, access: Access, type: string | undefined
): Promise<RecordPages> => {
  const readRows = <Row>(query: RawBuilder<Row>) => readPatiently(() => guardRead(() => query.execute(reads)))
  const { rows: [counted] } = await readRows(sql<{ last: number, total: number }>`
    SELECT (SELECT coalesce(max(seq), 0) FROM JobExecutionLog) AS last, count(*) AS total
    FROM JobExecutionLog WHERE ${isReadable(access, type)}`)
  const { last, total } = counted ?? { last: 0, total: 0 }

  const findEnd = async (after: number): Promise<number | null> => {
    const { rows: [page] } = await readRows(sql<{ end: number | null }>`
      SELECT max(seq) AS "end" FROM (
        SELECT seq FROM JobExecutionLog WHERE seq > ${after} AND seq <= ${last} ORDER BY seq
        LIMIT ${sql.lit(pageRows)}) AS page`)
    return page?.end ?? null
  }
  const readPage = async (after: number, end: number): Promise<RecordRow[]> => {
    const { rows } = await readRows(sql<StoredRow>`
      SELECT ${columns} FROM JobExecutionLog
      WHERE seq > ${after} AND seq <= ${end} AND ${isReadable(access, type)} ORDER BY seq`)
    return rows.map(toRecordRow)
  }
  async function * pages (): AsyncGenerator<RecordRow[]> {
    let after = 0
    for (let end = await findEnd(after); end !== null; end = await findEnd(after)) {
      yield await readPage(after, end)
      after = end
    }
  }
  return { total, pages: pages() }
}

/** The ReadOnlyStore of a Postgres database. */
export const openReadOnlyStore = (url: string): ReadOnlyStore => {
  const database = openDatabase(url, { isPinnedToFirst: true })
  const { reads, close } = database
  return {
    records: (access, type) => readRecords(reads, access, type),
    readInput: stored =>
      readChunks(stored, offset => readPatiently(() => copyInputChunks(database, stored.inputId, offset))),
    close
  }
}
