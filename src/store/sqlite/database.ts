import { existsSync, mkdirSync } from 'node:fs'
import { dirname } from 'node:path'
import SqliteDatabase from 'better-sqlite3'
import {
  CompiledQuery, type DatabaseConnection, type Dialect, Kysely, type QueryResult, SqliteAdapter, SqliteDriver,
  SqliteIntrospector,
  SqliteQueryCompiler
} from 'kysely'
import { LRUCache } from 'lru-cache'
import { DatabaseUnusable } from '../errors.ts'
import type { Tables } from '../tables.ts'
import { createFileWatch, type FileWatch } from './file-watch.ts'

/** Earlier releases of SQLite could reset a WAL that another connection still read. */
const sqliteVersionMin = '3.51.3'
// SQLite waits for another writer by blocking the event loop, and many waiting writes block it one after the other. So
// a write that finds the database locked fails at once and waits asynchronously. Reads rarely wait in WAL mode.
const writerBusyTimeoutMs = 0
const readerBusyTimeoutMs = 100
const openingTimeoutMs = 5000
const walBytesMax = 64 * 1024 * 1024

// The service has far fewer statements than this.
const statementsMax = 500

/** Keeps prepared statements: preparing one takes as long as running it. */
class KeepingConnection implements DatabaseConnection {
  readonly #database: SqliteDatabase.Database
  readonly #statements = new LRUCache<string, SqliteDatabase.Statement>({ max: statementsMax })

  constructor (database: SqliteDatabase.Database) {
    this.#database = database
  }

  // Async, so that every failure is a rejection.
  async executeQuery<Row> ({ sql, parameters }: CompiledQuery): Promise<QueryResult<Row>> {
    return this.#execute(sql, parameters)
  }

  async * streamQuery (): AsyncGenerator<never> {
    throw new Error('the service streams no query')
  }

  #execute<Row> (sql: string, parameters: readonly unknown[]): QueryResult<Row> {
    let statement = this.#statements.get(sql)
    if (statement === undefined) {
      statement = this.#database.prepare(sql)
      this.#statements.set(sql, statement)
    }
    if (statement.reader) return { rows: statement.all(parameters) as Row[] }
    const { changes, lastInsertRowid } = statement.run(parameters)
    return { rows: [], numAffectedRows: BigInt(changes), insertId: BigInt(lastInsertRowid) }
  }
}

// A deferred transaction that turns into a write fails at once if another writer was faster, whatever the timeout.
class ImmediateSqliteDriver extends SqliteDriver {
  readonly #database: SqliteDatabase.Database
  readonly #connection: DatabaseConnection

  constructor (database: SqliteDatabase.Database) {
    super({ database })
    this.#database = database
    this.#connection = new KeepingConnection(database)
  }

  override acquireConnection (): Promise<DatabaseConnection> {
    return Promise.resolve(this.#connection)
  }

  override async beginTransaction (connection: DatabaseConnection): Promise<void> {
    await connection.executeQuery(CompiledQuery.raw('begin immediate'))
  }

  // After some failures, such as a full disk, SQLite has rolled back by itself; a second rollback would hide the
  // cause.
  override async rollbackTransaction (connection: DatabaseConnection): Promise<void> {
    if (this.#database.inTransaction) await super.rollbackTransaction(connection)
  }
}

// SQLite rolls schema changes back like any others; Kysely assumes it does not.
class TransactionalSqliteAdapter extends SqliteAdapter {
  override get supportsTransactionalDdl (): boolean { return true }
}

const toDialect = (database: SqliteDatabase.Database): Dialect => ({
  createAdapter: () => new TransactionalSqliteAdapter(),
  createDriver: () => new ImmediateSqliteDriver(database),
  createIntrospector: db => new SqliteIntrospector(db),
  createQueryCompiler: () => new SqliteQueryCompiler()
})

/** Another connection holds the lock that was asked for. */
export const isBusy = (error: unknown): boolean =>
  error instanceof SqliteDatabase.SqliteError &&
    (error.code.startsWith('SQLITE_BUSY') || error.code.startsWith('SQLITE_LOCKED'))

const toReason = (cause: unknown): string => {
  const message = cause instanceof Error ? cause.message : String(cause)
  if (isBusy(cause)) return `another program keeps it locked (${message})`
  const isDamaged = cause instanceof SqliteDatabase.SqliteError && cause.code.startsWith('SQLITE_CORRUPT')
  return isDamaged ? `it is damaged (${message}): restore a backup with npm run restore` : message
}

/** This error of SQLite; where its message is not enough for an operator, one of the same code that says more. */
export const withReason = (error: InstanceType<typeof SqliteDatabase.SqliteError>): Error => {
  const reason = toReason(error)
  return reason === error.message ? error : Object.assign(new Error(reason, { cause: error }), { code: error.code })
}

/** Why this file cannot be used, from what SQLite or the migration threw. */
export const toDatabaseUnusable = (path: string, cause: unknown): DatabaseUnusable =>
  cause instanceof DatabaseUnusable ? cause : new DatabaseUnusable(path, toReason(cause), { cause })

/** The error of SQLite itself, however deep it is wrapped; undefined if something else failed. */
export const findSqliteError = (error: unknown): Error | undefined => {
  if (error instanceof SqliteDatabase.SqliteError) return error
  return error instanceof Error && error.cause !== undefined ? findSqliteError(error.cause) : undefined
}

/**
 * The two connections of a process: one writes, one transaction at a time, and one only reads and never waits for it.
 */
export type Database = {
  path: string
  writer: Kysely<Tables>
  reader: SqliteDatabase.Database
  files: FileWatch
  close: () => Promise<void>
}

// Not by localeCompare: a process that needs no collation keeps 6 MB free of its tables.
const isOlder = (version: string, least: string): boolean => {
  const leastParts = least.split('.').map(Number)
  const parts = version.split('.').map(Number)
  const at = leastParts.findIndex((part, index) => part !== (parts[index] ?? 0))
  return at !== -1 && (parts[at] ?? 0) < (leastParts[at] ?? 0)
}

/** A read-only connection with the service's settings. */
export const openReader = (path: string): SqliteDatabase.Database => {
  const reader = new SqliteDatabase(path, { readonly: true, fileMustExist: true, timeout: readerBusyTimeoutMs })
  reader.pragma('query_only = ON')
  return reader
}

/**
 * Makes a folder and its parents, step by step: Node's own recursion never ends on a file system that takes no
 * folders, such as /proc.
 */
export const makeFolder = (path: string): void => {
  if (existsSync(path)) return
  makeFolder(dirname(path))
  try {
    mkdirSync(path, { mode: 0o750 })
  } catch (error) {
    // Another process made it in between.
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  }
}

// The connection that writes. `synchronous = FULL`: an acknowledged commit survives a power cut.
const openWriter = (path: string): SqliteDatabase.Database => {
  // The file has inputs and results of all tenants, so other users of the machine may not read it.
  makeFolder(dirname(path))
  const writer = new SqliteDatabase(path, { timeout: openingTimeoutMs })
  const version = writer.prepare('SELECT sqlite_version()').pluck().get() as string
  if (isOlder(version, sqliteVersionMin)) {
    writer.close()
    throw new Error(`SQLite ${version} is too old: at least ${sqliteVersionMin} is needed`)
  }
  // The first read fails if the file is not a database.
  writer.pragma('schema_version')
  writer.pragma('synchronous = FULL')
  writer.pragma(`journal_size_limit = ${walBytesMax}`)
  writer.pragma('trusted_schema = OFF')
  writer.pragma(`busy_timeout = ${writerBusyTimeoutMs}`)
  return writer
}

const openConnections = (path: string) => {
  try {
    return { writer: openWriter(path), reader: openReader(path) }
  } catch (error) {
    throw toDatabaseUnusable(path, error)
  }
}

/** The query builder on a connection. */
export const toKysely = (connection: SqliteDatabase.Database): Kysely<Tables> =>
  new Kysely<Tables>({ dialect: toDialect(connection) })

/** Opens a database file, or makes an empty one; `migrate` makes its schema. Throws DatabaseUnusable. */
export const openDatabase = (path: string): Database => {
  const { writer: writerConnection, reader } = openConnections(path)
  const writer = toKysely(writerConnection)
  return {
    path,
    writer,
    reader,
    files: createFileWatch(path),
    close: async () => {
      reader.close()
      await writer.destroy()
    }
  }
}
