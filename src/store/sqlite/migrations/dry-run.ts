import SqliteDatabase from 'better-sqlite3'
import type { Kysely } from 'kysely'
import type { Job } from '../../../job/job.ts'
import { noProgress } from '../../../job/progress.ts'
import { toKysely } from '../database.ts'
import { insertJob } from '../../tx/jobs.ts'
import { toColumns } from '../../records.ts'
import type { Tables } from '../../tables.ts'
import { recordTable } from './record-columns.ts'
import type { Inspection } from './inspect.ts'

/*
 * Applies the migrations to a copy of the schema in memory, without its rows, before anything is written. So SQLite
 * itself finds each obstacle (a table of the same name, a constraint that our rows cannot meet, a trigger that rejects
 * them), in place of a list of what might be one.
 */

const progress = { percent: 12.5, done: 0.5, total: 2.5, stage: 'a', message: 'a', etaSeconds: 7 }
const common = {
  version: 0, tenant: 'acme', submittedBy: 'a', type: 'report', createdAt: 0, startedAt: 0, attempt: 3, progress
}
const failure = { code: 'E', message: 'a' }

// One in each state, with every optional value and with none.
const samples: readonly Job[] = [
  { ...common, jobId: 'sample-1', state: 'queued', progress: noProgress, startedAt: null, type: null, tenant: null },
  // A column that converts it to a number would give the rows of one tenant to another.
  { ...common, jobId: 'sample-2', state: 'queued', progress: noProgress, startedAt: null, tenant: '007' },
  {
    ...common,
    jobId: 'sample-3',
    state: 'running',
    progress: noProgress,
    cancelRequestedAt: null,
    hasPartialResult: false
  },
  { ...common, jobId: 'sample-4', state: 'running', cancelRequestedAt: 0, hasPartialResult: true },
  {
    ...common,
    jobId: 'sample-5',
    state: 'succeeded',
    finishedAt: 0,
    resultUrl: null,
    result: null,
    expiresAt: null,
    resultExpiredAt: null
  },
  {
    ...common,
    jobId: 'sample-6',
    state: 'succeeded',
    finishedAt: 0,
    resultUrl: '/a',
    result: null,
    expiresAt: 0,
    resultExpiredAt: 0
  },
  { ...common, jobId: 'sample-7', state: 'failed', finishedAt: 0, failure },
  { ...common, jobId: 'sample-8', state: 'cancelled', finishedAt: 0, cancelledAt: 0, failure }
]

const requireUnaltered = (connection: SqliteDatabase.Database, job: Job): void => {
  const { jobId, type, tenant } = job
  const written = Object.entries({ jobId, type, tenant, ...toColumns(job) })
  const aliases = [...written, ['version']].map(([column]) => `${column} AS ${column}`).join(', ')
  const row = connection.prepare<[string], Record<string, unknown>>(
    `SELECT ${aliases} FROM ${recordTable} WHERE jobId = ?`
  ).get(jobId)
  const altered = written.find(([column, value]) => row?.[column] !== value)
  if (altered !== undefined) {
    throw new Error(`column ${altered[0]} does not keep ${JSON.stringify(altered[1])} as it is`)
  }
  if (typeof row?.version !== 'number') throw new Error('column version does not keep numbers as they are')
  const alike = (column: 'jobId' | 'tenant') => connection.prepare<[object], unknown>(
    `SELECT 1 FROM ${recordTable} WHERE ${column} IN (upper(:${column}), :${column} || ' ')`).get({
    jobId, tenant: tenant === '007' ? 'a' : tenant
  })
  for (const column of ['jobId', 'tenant'] as const) {
    if (alike(column) !== undefined) throw new Error(`column ${column} takes different texts for the same`)
  }
}

// Whether the table takes the service's rows is only known from rows like them.
const tryRows = async (db: Kysely<Tables>, connection: SqliteDatabase.Database): Promise<void> => {
  for (const job of samples) {
    await db.transaction().execute(tx => insertJob(tx, job))
    requireUnaltered(connection, job)
  }
}

const copySchema = (connection: SqliteDatabase.Database, { objects, applied }: Inspection): void => {
  for (const { tbl_name: table, sql } of objects) {
    try {
      connection.prepare(sql).run()
    } catch (error) {
      // A virtual table of an extension that is not loaded, and what depends on it, is no obstacle.
      if (table.toLowerCase() === recordTable.toLowerCase()) throw error
    }
  }
  for (const name of applied) {
    connection.prepare('INSERT INTO kysely_migration VALUES (?, ?)').run(name, '1970-01-01T00:00:00.000Z')
  }
}

const failedAt = (part: string) => (error: unknown): never => {
  throw new Error(`${part}: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
}

/** Throws if the migrations cannot be applied to the schema, or if it then does not take the service's rows. */
export const dryRun = async (inspection: Inspection, run: (db: Kysely<Tables>) => Promise<unknown>): Promise<void> => {
  const connection = new SqliteDatabase(':memory:')
  connection.pragma('trusted_schema = OFF')
  // The copy has no rows that could refer to each other.
  connection.pragma('foreign_keys = OFF')
  const db = toKysely(connection)
  try {
    copySchema(connection, inspection)
    await run(db).catch(failedAt('its schema is in the way'))
    if (inspection.adopts) {
      await tryRows(db, connection).catch(failedAt(`its ${recordTable} does not take the service's rows`))
    }
  } finally {
    await db.destroy()
  }
}
