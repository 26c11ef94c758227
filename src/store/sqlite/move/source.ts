import { existsSync, realpathSync, statSync } from 'node:fs'
import SqliteDatabase from 'better-sqlite3'
import { DatabaseInUse, MoveFailed } from '../../errors.ts'
import type { CopyValue } from '../../move/copy-format.ts'
import type { MoveSource, SourceFacts } from '../../move/move-database.ts'
import { type MovedColumn, type MovedTable, movedTables } from '../../move/moved-tables.ts'
import { openReader } from '../database.ts'
import { assertIntegrity, chooseCheck } from '../integrity-check.ts'
import { findPending } from '../migrations/migrate.ts'
import { lockForProcess } from '../process-lock.ts'
import { type Cell, convert } from './cells.ts'

/*
 * The database file that a move reads. No service can use it meanwhile, no program can write to it, and the move itself
 * writes nothing.
 */

const record = 'JobExecutionLog'
// How long to wait for a program that is writing.
const busyTimeoutMs = 5000

// In a table of another program these may be null; the service reads that as 0.
const zeroIfNull = new Set(['attempt', 'hasPartialResult'])
// What the other database keeps of a tenant in the queue. No token has one that is longer.
const queueTenantMax = 257

const listColumns = (reader: SqliteDatabase.Database, table: string): string[] =>
  reader.prepare<[string], string>('SELECT name FROM pragma_table_xinfo(?)').pluck().all(table)

const isStrict = (reader: SqliteDatabase.Database): boolean => reader.prepare<[string], number>(
  "SELECT strict FROM pragma_table_list WHERE schema = 'main' AND name = ? COLLATE NOCASE").pluck().get(record) === 1

// The bytes of a text, since its characters could be others than those stored: SQLite does not require UTF-8.
const toExpression = (table: MovedTable, { name, type }: MovedColumn, isTyped: boolean): string => {
  if (type !== 'text') return zeroIfNull.has(name) ? `coalesce(${name}, 0)` : name
  if (table.name === 'JobQueue' && name === 'tenant') return `CAST(substr(tenant, 1, ${queueTenantMax}) AS BLOB)`
  return isTyped
    ? `CAST(${name} AS BLOB)`
    : `CASE typeof(${name}) WHEN 'text' THEN CAST(${name} AS BLOB) WHEN 'blob' THEN 'blob' ELSE ${name} END`
}

const toQuery = (table: MovedTable, columns: readonly MovedColumn[], isTyped: boolean, order: string): string => {
  const values = columns.map(column => toExpression(table, column, isTyped))
  return `SELECT ${[...values, table.idColumn].join(', ')} FROM ${table.name} ${order}`
}

const createRows = (reader: SqliteDatabase.Database) => {
  const isTyped = isStrict(reader)

  // Each row with its id behind the values of the columns.
  const read = (table: MovedTable, columns: readonly MovedColumn[], order: string): IterableIterator<Cell[]> =>
    reader.prepare<[], Cell[]>(toQuery(table, columns, table.name !== record || isTyped, order)).raw()
      .safeIntegers().iterate()

  const rows = function * (table: MovedTable): Generator<CopyValue[], void, void> {
    const order = `ORDER BY ${table.orderBy.map(column => `${column} COLLATE BINARY`).join(', ')}`
    for (const cells of read(table, table.columns, order)) {
      yield table.columns.map(({ type }, index) => {
        const converted = convert(type, cells[index] ?? null)
        if ('problem' in converted) throw new Error(`a value of ${table.name} ${converted.problem}`)
        return converted.value
      })
    }
  }

  const findUnmovable = (limit: number) => {
    const lines: string[] = []
    let count = 0
    const note = (table: MovedTable, column: string, id: Cell, problem: string) => {
      count++
      if (lines.length < limit) lines.push(`${table.name}.${column} of ${JSON.stringify(String(id))} ${problem}`)
    }
    for (const table of movedTables) {
      const columns = table.columns.filter(({ type }) => type === 'text' || (table.name === record && !isTyped))
      // The chunks of a job are many, and their only text is an id that others refer to.
      if (table.columns.some(({ type }) => type === 'bytea')) continue
      for (const cells of read(table, columns, '')) {
        const id = cells[columns.length] ?? null
        if (table.name === record && (id === '.' || id === '..')) note(table, 'jobId', id, 'is no id that Postgres takes')
        for (const [index, { name, type }] of columns.entries()) {
          const converted = convert(type, cells[index] ?? null)
          if ('problem' in converted) note(table, name, id, converted.problem)
        }
      }
    }
    return { lines, count }
  }
  return { rows, findUnmovable }
}

const readFacts = (reader: SqliteDatabase.Database, lastWrittenAt: number): SourceFacts => {
  const state = new Map(reader.prepare<[], [string, string]>('SELECT name, value FROM ServiceState').raw().all())
  const versions = reader.prepare<[], number>(`
    SELECT max(version) FROM (SELECT seq AS version FROM sqlite_sequence WHERE name = 'JobChange'
      UNION ALL SELECT max(version) FROM ${record} UNION ALL SELECT max(version) FROM JobTombstone)`).pluck()
  const incarnation = state.get('incarnation') ?? ''
  state.delete('incarnation')
  return { incarnation, version: versions.get() ?? 0, lastWrittenAt, state }
}

const findLastWrite = (path: string): number =>
  Math.max(...[path, `${path}-wal`].filter(existsSync).map(file => statSync(file).mtimeMs))

// An open write transaction, which writes nothing.
const keepOthersFromWriting = (path: string): (() => void) => {
  const guard = new SqliteDatabase(path, { fileMustExist: true, timeout: busyTimeoutMs })
  try {
    guard.exec('BEGIN IMMEDIATE')
  } catch (error) {
    guard.close()
    throw new MoveFailed([`--from: another program is writing to ${path}: stop it, then move`], { cause: error })
  }
  return () => {
    guard.exec('ROLLBACK')
    guard.close()
  }
}

const lock = (path: string): (() => void) => {
  try {
    return lockForProcess(path)
  } catch (error) {
    if (!(error instanceof DatabaseInUse)) throw error
    throw new MoveFailed([`--from: a service process is using ${path}: stop it, then move`], { cause: error })
  }
}

const requireCurrent = (path: string): void => {
  const [pending] = findPending(path)
  if (pending === undefined) return
  throw new MoveFailed([`--from: ${path} lacks the migration ${pending}: ` +
    `run npm run migrate with DATABASE_URL=sqlite:${path}, then move`])
}

const openLocked = (path: string, lastWrittenAt: number): MoveSource => {
  const check = chooseCheck(path)
  const allowOthers = keepOthersFromWriting(path)
  try {
    requireCurrent(path)
    if (check !== undefined) assertIntegrity(path, check)
    const reader = openReader(path)
    reader.exec('BEGIN')
    const moved = movedTables.find(({ name }) => name === record)?.columns.map(({ name }) => name.toLowerCase()) ?? []
    return {
      ...createRows(reader),
      facts: readFacts(reader, lastWrittenAt),
      foreignColumns: listColumns(reader, record).filter(name => !moved.includes(name.toLowerCase())),
      close: () => {
        reader.close()
        allowOthers()
      }
    }
  } catch (error) {
    allowOthers()
    throw error
  }
}

/** Opens a database that no service uses, at its present state. Throws MoveFailed. */
export const openMoveSource = (databasePath: string): MoveSource => {
  if (!existsSync(databasePath)) throw new MoveFailed([`--from: there is no file ${databasePath}`])
  const path = realpathSync(databasePath)
  const lastWrittenAt = findLastWrite(path)
  const unlock = lock(path)
  try {
    const source = openLocked(path, lastWrittenAt)
    return {
      ...source,
      close: () => {
        source.close()
        unlock()
      }
    }
  } catch (error) {
    unlock()
    if (error instanceof MoveFailed) throw error
    const { message } = error as Error
    throw new MoveFailed([`--from: ${message.replace(/^DATABASE_URL: /, '')}`], { cause: error })
  }
}
