import SqliteDatabase from 'better-sqlite3'
import type { Kysely } from 'kysely'
import type { Job } from '../../../job/job.ts'
import { noProgress } from '../../../job/progress.ts'
import { toKysely } from '../database.ts'
import { insertJob } from '../../tx/jobs.ts'
import { toColumns } from '../../records.ts'
import type { Tables } from '../../tables.ts'
import { recordTable } from './record-columns.ts'
import type { Survey } from './inspect.ts'

/*
 * The migrations are tried on a copy of the schema in memory, without its rows, before anything is written. So whatever
 * stands in the way (a table of the same name, a constraint that our rows cannot meet, a trigger that refuses them) is
 * found by SQLite itself, and not by a list of what might.
 */

const progress = { percent: 12.5, done: 0.5, total: 2.5, stage: 'a', message: 'a', etaSeconds: 7 }
const common = { version: 0, tenant: 'acme', submittedBy: 'a', type: 'report', createdAt: 0, startedAt: 0, attempt: 3, progress }
const failure = { code: 'E', message: 'a' }

// One in each state, with everything and with nothing that may be missing.
const samples: readonly Job[] = [
  { ...common, jobId: 'sample-1', state: 'queued', progress: noProgress, startedAt: null, type: null, tenant: null },
  // A column that made a number of it would give the rows of one tenant to another.
  { ...common, jobId: 'sample-2', state: 'queued', progress: noProgress, startedAt: null, tenant: '007' },
  { ...common, jobId: 'sample-3', state: 'running', progress: noProgress, cancelRequestedAt: null, hasPartialResult: false },
  { ...common, jobId: 'sample-4', state: 'running', cancelRequestedAt: 0, hasPartialResult: true },
  { ...common, jobId: 'sample-5', state: 'succeeded', finishedAt: 0, resultUrl: null, result: null, expiresAt: null, resultExpiredAt: null },
  { ...common, jobId: 'sample-6', state: 'succeeded', finishedAt: 0, resultUrl: '/a', result: null, expiresAt: 0, resultExpiredAt: 0 },
  { ...common, jobId: 'sample-7', state: 'failed', finishedAt: 0, failure },
  { ...common, jobId: 'sample-8', state: 'cancelled', finishedAt: 0, cancelledAt: 0, failure }
]

const refuseAltered = (connection: SqliteDatabase.Database, job: Job): void => {
  const { jobId, type, tenant } = job
  const written = Object.entries({ jobId, type, tenant, ...toColumns(job) })
  const aliases = [...written, ['version']].map(([column]) => `${column} AS ${column}`).join(', ')
  const row = connection.prepare<[string], Record<string, unknown>>(`SELECT ${aliases} FROM ${recordTable} WHERE jobId = ?`).get(jobId)
  const altered = written.find(([column, value]) => row?.[column] !== value)
  if (altered !== undefined) throw new Error(`column ${altered[0]} does not keep ${JSON.stringify(altered[1])} as it is`)
  if (typeof row?.version !== 'number') throw new Error('column version does not keep numbers as they are')
  const alike = (column: 'jobId' | 'tenant') => connection.prepare<[object], unknown>(
    `SELECT 1 FROM ${recordTable} WHERE ${column} IN (upper(:${column}), :${column} || ' ')`).get({ jobId, tenant: tenant === '007' ? 'a' : tenant })
  for (const column of ['jobId', 'tenant'] as const) {
    if (alike(column) !== undefined) throw new Error(`column ${column} takes different texts for the same`)
  }
}

// Only rows like those that the service will write show whether the table takes them.
const tryRows = async (db: Kysely<Tables>, connection: SqliteDatabase.Database): Promise<void> => {
  for (const job of samples) {
    await db.transaction().execute(tx => insertJob(tx, job))
    refuseAltered(connection, job)
  }
}

const copySchema = (connection: SqliteDatabase.Database, { objects, applied }: Survey): void => {
  for (const { tbl_name: table, sql } of objects) {
    try {
      connection.prepare(sql).run()
    } catch (error) {
      // A virtual table of an extension that is not here, and what stands on it, is nobody's hindrance.
      if (table.toLowerCase() === recordTable.toLowerCase()) throw error
    }
  }
  for (const name of applied) connection.prepare('INSERT INTO kysely_migration VALUES (?, ?)').run(name, '1970-01-01T00:00:00.000Z')
}

const refusedBy = (part: string) => (error: unknown): never => {
  throw new Error(`${part}: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
}

/** Throws where the migrations cannot be applied to such a schema, or the service's rows not be written to it then. */
export const rehearse = async (survey: Survey, run: (db: Kysely<Tables>) => Promise<unknown>): Promise<void> => {
  const connection = new SqliteDatabase(':memory:')
  connection.pragma('trusted_schema = OFF')
  // No row refers to another here.
  connection.pragma('foreign_keys = OFF')
  const db = toKysely(connection)
  try {
    copySchema(connection, survey)
    await run(db).catch(refusedBy('its schema is in the way'))
    if (survey.adopts) await tryRows(db, connection).catch(refusedBy(`its ${recordTable} does not take the service's rows`))
  } finally {
    await db.destroy()
  }
}
