import type { Database } from 'better-sqlite3'
import type { Access } from '../processor.ts'

/** Rows to a page: a page is one read transaction, and a long one would keep the write-ahead log from shrinking. */
const pageRows = 2000

// A table that another engine made may hold values of any kind, under names in any case.

/** What a report needs of a record. Times are as they were written; `errorDetails` is null unless the job failed. */
export type ReportRow = {
  type: string | null
  status: string
  startTime: string | null
  endTime: string | null
  createdAt: string | null
  errorDetails: string | null
}

// A bound parameter for "every tenant" keeps it one statement. The + keeps SQLite from an index on tenant or type,
// which would sort a tenant's rows anew for each page.
const readable = '(:allTenants = 1 OR +tenant IS NULL OR +tenant = :tenant) AND (:type IS NULL OR +type = :type)'

/**
 * The rows that may be read, of one type if one is given. `total` is their number at this moment. The pages hold fewer
 * than `pageRows` where others' rows lie between, so that a page costs the same whoever asks.
 */
export const openRows = (database: Database, access: Access, type: string | undefined) => {
  const who = { allTenants: access.allTenants ? 1 : 0, tenant: access.tenant, type: type ?? null }
  const last = database.prepare<[], number | null>('SELECT max(rowid) FROM JobExecutionLog').pluck().get() ?? 0
  const total = database.prepare<[object], number>(
    `SELECT count(*) FROM JobExecutionLog WHERE rowid <= :last AND ${readable}`
  ).pluck().get({ ...who, last }) ?? 0
  const pageEnd = database.prepare<[object], number | null>(
    'SELECT max(rowid) FROM (SELECT rowid FROM JobExecutionLog WHERE rowid > :after AND rowid <= :last ORDER BY rowid LIMIT :pageRows)'
  ).pluck()
  const page = database.prepare<[object], ReportRow>(`
    SELECT CAST(type AS TEXT) AS type, status AS status, CAST(startTime AS TEXT) AS startTime,
      CAST(endTime AS TEXT) AS endTime, CAST(createdAt AS TEXT) AS createdAt,
      CASE status WHEN 'Failed' THEN CAST(errorDetails AS TEXT) END AS errorDetails
    FROM JobExecutionLog
    WHERE rowid > :after AND rowid <= :end AND ${readable}`)

  function * pages (): Generator<ReportRow[]> {
    let after = Number.MIN_SAFE_INTEGER
    for (;;) {
      const end = pageEnd.get({ after, last, pageRows }) ?? null
      if (end === null) return
      yield page.all({ ...who, after, end })
      after = end
    }
  }
  return { total, pages }
}
