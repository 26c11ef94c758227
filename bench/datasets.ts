import { createHash } from 'node:crypto'
import { existsSync, globSync, mkdirSync, renameSync, rmSync, statfsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import SqliteDatabase from 'better-sqlite3'
import { openDatabase } from '../src/store/sqlite/database.ts'
import { migrate } from '../src/store/sqlite/migrations/migrate.ts'

/*
 * Databases with many running jobs and some finished ones, all of one tenant. The rows are inserted without triggers.
 * With them, each row would take a version and write a change for the relay to read, which takes many times as long
 * and is not what the bench measures.
 */

/** Tenant of the jobs and of the clients that poll them. */
export const tenant = 'bench'

/** The id of row n, counted from 0. */
export const toJobId = (n: number): string => `job-${String(n).padStart(8, '0')}`

/** Number of finished jobs in every dataset, in addition to its rows. */
export const finishedRows = 1000
/** The id of finished job n, counted from 0. */
export const toFinishedId = (n: number): string => `done-${String(n).padStart(8, '0')}`

const rowsPerInsert = 500_000
const bytesPerRow = 400
// Raise it when the contents of the rows change, so that stored datasets are built again.
const recipe = 2

type Definition = { type: string, name: string, sql: string }

const insertRows = (database: SqliteDatabase.Database, rows: number): void => {
  const insert = database.prepare(`
    WITH RECURSIVE n(i) AS (SELECT ? UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?)
    INSERT INTO JobExecutionLog
      (jobId, type, status, tenant, submittedBy, createdAt, startTime, attempt, progressPercent, version)
    SELECT printf('job-%08d', i), 'report', 'Running', '${tenant}', '${tenant}',
      strftime('%Y-%m-%dT%H:%M:%fZ', 1767225600 + i, 'unixepoch'), '2026-06-01T00:00:00.000Z', 1, 40, i + 1 FROM n`)
  for (let from = 0; from < rows; from += rowsPerInsert) insert.run(from, Math.min(rows, from + rowsPerInsert))
  const insertFinished = database.prepare(`
    INSERT INTO JobExecutionLog
      (jobId, type, status, tenant, createdAt, startTime, endTime, attempt, progressPercent, version)
    VALUES (?, 'report', 'Succeeded', '${tenant}',
      '2026-06-01T00:00:00.000Z', '2026-06-01T00:00:00.000Z', '2026-06-01T00:01:00.000Z', 1, 100, ?)`)
  database.transaction(() => {
    for (let n = 0; n < finishedRows; n++) insertFinished.run(toFinishedId(n), rows + n + 1)
  })()
}

const fill = (path: string, rows: number): void => {
  const database = new SqliteDatabase(path)
  // No durability is needed: an interrupted build starts again from an empty file.
  database.pragma('journal_mode = MEMORY')
  database.pragma('synchronous = OFF')
  database.pragma('cache_size = -200000')
  // These rows satisfy the CHECK constraints, and testing them is most of the cost of an insert.
  database.pragma('ignore_check_constraints = ON')
  // Building an index at the end is faster than updating it with each row.
  const definitions = database.prepare(`
    SELECT type, name, sql FROM sqlite_schema
    WHERE tbl_name = 'JobExecutionLog' AND type IN ('trigger', 'index') AND sql IS NOT NULL
  `).all() as Definition[]
  for (const { type, name } of definitions) database.exec(`DROP ${type} "${name}"`)
  insertRows(database, rows)
  // The next version must be higher than the versions of the rows.
  database.prepare('INSERT INTO JobChange (version, jobId) VALUES (?, ?)')
    .run(rows + finishedRows, toFinishedId(finishedRows - 1))
  for (const { sql } of definitions.toSorted((a, b) => a.type.localeCompare(b.type))) database.exec(sql)
  database.pragma('journal_mode = WAL')
  database.close()
}

/** Creates a database with `rows` running jobs at a path that does not exist yet. */
export const buildDataset = async (path: string, rows: number): Promise<void> => {
  const database = openDatabase(path)
  await migrate(database.writer)
  await database.close()
  fill(path, rows)
}

const fingerprintOf = async (directory: string): Promise<string> => {
  const path = join(directory, 'schema.db')
  await buildDataset(path, 1)
  const database = new SqliteDatabase(path, { readonly: true })
  const statement = database.prepare("SELECT group_concat(sql, ';') FROM (SELECT sql FROM sqlite_schema ORDER BY name)")
  const schema = statement.pluck().get() as string
  database.close()
  rmSync(path)
  return createHash('sha256').update(`${recipe} ${schema}`).digest('hex').slice(0, 12)
}

/**
 * Returns the path of a database that is too large to build for each run. It stays in the temporary folder of the
 * machine until the schema changes. `directory` is for temporary files. Throws if the disk has not enough free space.
 */
export const keepDataset = async (directory: string, rows: number, note: (line: string) => void): Promise<string> => {
  const home = join(tmpdir(), 'job-status-service-bench')
  mkdirSync(home, { recursive: true, mode: 0o700 })
  const name = `${rows}-${await fingerprintOf(directory)}`
  const path = join(home, `${name}.db`)
  // Remove databases of another schema and those of an interrupted run.
  const isOld = (file: string): boolean =>
    file.startsWith('draft') || (file.startsWith(`${rows}-`) && !file.startsWith(name))
  for (const file of globSync('*', { cwd: home }).filter(isOld)) rmSync(join(home, file))
  if (existsSync(path)) return path
  const { bavail, bsize } = statfsSync(home)
  if (bavail * bsize < rows * bytesPerRow) throw new Error(`${home} has not enough free space for ${rows} rows`)
  note(`building ${rows} rows in ${path}, once on this machine`)
  const began = performance.now()
  const draft = join(home, 'draft.db')
  await buildDataset(draft, rows)
  renameSync(draft, path)
  note(`built in ${((performance.now() - began) / 1000).toFixed(0)} s`)
  return path
}
