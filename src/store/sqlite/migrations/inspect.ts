import SqliteDatabase from 'better-sqlite3'
import { columnsPresent, offendersSql, type RecordColumn, recordTable } from './record-columns.ts'

/*
 * Inspects a database before anything is written to it: can this service use it? If not, it throws an error that says
 * what is missing or wrong, and that shows no more of a row than its jobId.
 */

/** What each migration, in order, needs of an existing JobExecutionLog. */
export type MigrationNeeds = { name: string, recordColumns: readonly RecordColumn[] }

export type SchemaObject = { type: string, tbl_name: string, sql: string }

/** `adopts`: another program has made the table. */
export type Inspection = { applied: string[], pending: string[], adopts: boolean, objects: SchemaObject[] }

const isNamed = (name: string) => (other: string): boolean => other.toLowerCase() === name.toLowerCase()

const columnNames = (connection: SqliteDatabase.Database, table: string): string[] =>
  connection.prepare<[string], string>('SELECT name FROM pragma_table_xinfo(?)').pluck().all(table)

const appliedMigrations = (connection: SqliteDatabase.Database): string[] => {
  const columns = columnNames(connection, 'kysely_migration')
  if (columns.length === 0) return []
  if (!columns.includes('name')) throw new Error('its table kysely_migration is not one of this service')
  return connection.prepare<[], string>('SELECT name FROM kysely_migration ORDER BY name').pluck().all()
}

const requireKnown = (applied: string[], known: string[]): void => {
  const [unknown] = applied.filter(name => !known.includes(name))
  if (unknown === undefined) return
  throw new Error(known.some(name => applied.includes(name))
    ? `it was made by a newer version of this service: migration ${unknown} is not known to this one; run that version, or set DATABASE_URL to another file`
    : `its table kysely_migration belongs to another program: migration ${unknown} is none of this service`)
}

// SQLite would convert texts to numbers, which are other ids.
const isNumeric = (declared: string): boolean => /INT|REAL|FLOA|DOUB|NUM|DEC/i.test(declared)

type Index = { name: string, unique: number, partial: number }

const jobIdProblems = (connection: SqliteDatabase.Database): string[] => {
  const declared = connection.prepare<[string], string>(
    "SELECT type FROM pragma_table_xinfo(?) WHERE name = 'jobId' COLLATE NOCASE").pluck().get(recordTable) ?? ''
  if (isNumeric(declared)) return [`column jobId is declared ${declared}, and has to hold texts`]
  const indexes =
    connection.prepare<[string], Index>('SELECT name, "unique", partial FROM pragma_index_list(?)').all(recordTable)
  const keys =
    connection.prepare<[string], string | null>('SELECT name FROM pragma_index_xinfo(?) WHERE key = 1').pluck()
  const unique = indexes.filter(index => index.unique === 1)
    .map(index => ({ ...index, columns: keys.all(index.name).map(name => name?.toLowerCase()) }))
  const isKey = unique.some(({ partial, columns }) => partial === 0 && columns.length === 1 && columns[0] === 'jobid')
  return [
    ...isKey ? [] : ['jobId is neither PRIMARY KEY nor UNIQUE'],
    // REPLACE would remove another job's row without firing a trigger.
    ...unique.filter(({ columns }) => !columns.includes('jobid'))
      .map(({ name, columns }) =>
        `${columns.join(', ')} is UNIQUE too (${name}), so that rows could displace those of other jobs`)
  ]
}

// A row with a `submittedBy` counts as the service's own, and a column named rowid hides the number of the row.
const reservedColumns = ['submittedBy', 'createdMs', 'endedMs', 'rowid', 'seq']

const tableProblems = (connection: SqliteDatabase.Database): string[] => {
  const columns = columnNames(connection, recordTable)
  const lacks = (name: string) => !columns.some(isNamed(name))
  return [
    ...['jobId', 'status'].filter(lacks).map(name => `column ${name} is missing`),
    ...reservedColumns.filter(name => !lacks(name)).map(
      name => `column ${name} has a name that the service keeps for itself`
    ),
    ...lacks('jobId') ? [] : jobIdProblems(connection)
  ]
}

/** Whether another program has made the table. Throws if it cannot be adopted, whatever its rows. */
const findForeignTable = (connection: SqliteDatabase.Database): boolean => {
  const table = connection.prepare<[string], { type: string, wr: number }>(
    "SELECT type, wr FROM pragma_table_list WHERE schema = 'main' AND name = ? COLLATE NOCASE").get(recordTable)
  if (table === undefined) return false
  const problems = table.type !== 'table'
    ? [`it is a ${table.type}`]
    : table.wr === 1 ? ['it is a WITHOUT ROWID table'] : tableProblems(connection)
  if (problems.length > 0) throw new Error(`its ${recordTable} cannot be adopted: ${problems.join('; ')}`)
  return true
}

const requireRulesKept = (connection: SqliteDatabase.Database, columns: readonly RecordColumn[]): void => {
  const problems = columnsPresent(columns, columnNames(connection, recordTable)).flatMap(({ name, rule }) => {
    if (rule === undefined) return []
    const { count, jobId } = connection.prepare<[], { count: number, jobId: unknown }>(
      offendersSql(rule, 'count(*) AS count, max(jobId) AS jobId')).get() ?? { count: 0, jobId: null }
    if (count === 0) return []
    const rows = count === 1 ? '1 row breaks' : `${count} rows break`
    return [`${rows} the rule of ${name} (${rule.says}): see jobId ${JSON.stringify(String(jobId).slice(0, 128))}`]
  })
  if (problems.length > 0) throw new Error(`its ${recordTable} cannot be adopted: ${problems.join('; ')}`)
}

const objectsOf = (connection: SqliteDatabase.Database): SchemaObject[] => connection.prepare<[], SchemaObject>(`
  SELECT type, tbl_name, sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
  ORDER BY CASE type WHEN 'table' THEN 1 WHEN 'index' THEN 2 WHEN 'view' THEN 3 ELSE 4 END, rowid`).all()

/**
 * Inspects one moment of the file, and writes nothing. Throws if a newer release made it, or if another program's
 * JobExecutionLog cannot be adopted.
 */
export const inspectDatabase = (path: string, needs: readonly MigrationNeeds[]): Inspection => {
  const connection = new SqliteDatabase(path, { fileMustExist: true, timeout: 0 })
  connection.pragma('query_only = ON')
  connection.pragma('trusted_schema = OFF')
  const inspect = (): Inspection => {
    const applied = appliedMigrations(connection)
    requireKnown(applied, needs.map(({ name }) => name))
    const pending = needs.filter(({ name }) => !applied.includes(name))
    const adopts = applied.length === 0 && findForeignTable(connection)
    requireRulesKept(connection, pending.flatMap(({ recordColumns }) => recordColumns))
    return { applied, pending: pending.map(({ name }) => name), adopts, objects: objectsOf(connection) }
  }
  try {
    return connection.transaction(inspect)()
  } finally {
    connection.close()
  }
}
