import { type Kysely, sql } from 'kysely'
import type { ColumnRule, RecordColumn } from './record-columns.ts'

/*
 * Adopts a JobExecutionLog that another program made before this service was installed. It keeps its rows, its values,
 * its other columns and its triggers, and gets the columns, the rules and the versions that it lacks.
 */

const isNumber = (value: string) => `typeof(${value}) IN ('integer', 'real')`

/**
 * The columns of the first release. A table without `jobId` or `status` is no table of jobs: these have no default.
 */
export const firstColumns: readonly RecordColumn[] = [
  {
    name: 'jobId',
    definition: 'TEXT',
    rule: {
      holds: row => `typeof(${row}jobId) = 'text' AND length(${row}jobId) BETWEEN 1 AND 128
    AND ${row}jobId NOT GLOB '*[^A-Za-z0-9._~-]*' AND instr(${row}jobId, char(0)) = 0`,
      says: 'a text of 1 to 128 characters of A-Z a-z 0-9 . _ ~ -'
    }
  },
  {
    name: 'status',
    definition: 'TEXT',
    rule: {
      holds: row => `typeof(${row}status) = 'text' AND ${row}status COLLATE BINARY IN ('Queued', 'Running', 'Succeeded', 'Failed')`,
      says: 'one of Queued, Running, Succeeded, Failed'
    }
  },
  { name: 'type', definition: 'TEXT' },
  { name: 'startTime', definition: 'TEXT' },
  { name: 'endTime', definition: 'TEXT' },
  { name: 'resultUrl', definition: 'TEXT' },
  { name: 'errorDetails', definition: 'TEXT' },
  {
    name: 'tenant',
    definition: 'TEXT',
    rule: { holds: row => `typeof(${row}tenant) IN ('null', 'text')`, says: 'a text, or null' }
  },
  {
    name: 'progressPercent',
    definition: 'REAL CHECK (progressPercent BETWEEN 0 AND 100)',
    rule: {
      holds: row => `${row}progressPercent IS NULL OR (${isNumber(`${row}progressPercent`)} AND ${row}progressPercent BETWEEN 0 AND 100)`,
      says: 'a number from 0 to 100, or null'
    }
  },
  // A trigger fills it: the default of an added column cannot be the current time.
  { name: 'createdAt', definition: 'TEXT' },
  {
    name: 'version',
    definition: 'INTEGER NOT NULL DEFAULT 0',
    rule: { holds: row => `${row}version IS NULL OR ${isNumber(`${row}version`)}`, says: 'a number, or null' }
  },
  { name: 'submittedBy', definition: 'TEXT' },
  {
    name: 'attempt',
    definition: 'INTEGER NOT NULL DEFAULT 0 CHECK (attempt >= 0)',
    rule: {
      holds: row => `${row}attempt IS NULL OR (${isNumber(`${row}attempt`)} AND ${row}attempt >= 0)`,
      says: 'a number from 0 on, or null'
    }
  },
  { name: 'progressDone', definition: 'REAL' },
  { name: 'progressTotal', definition: 'REAL' },
  { name: 'progressStage', definition: 'TEXT' },
  { name: 'progressMessage', definition: 'TEXT' },
  { name: 'etaSeconds', definition: 'INTEGER' }
]

const offendersSql = ({ holds }: ColumnRule): string => `SELECT 1 FROM JobExecutionLog WHERE NOT (${holds('')}) LIMIT 1`

const ruleTriggers = (column: string, rule: ColumnRule): string[] => ['INSERT', 'UPDATE'].map(verb => `
  CREATE TRIGGER JobExecutionLog_${column}_rule_${verb.toLowerCase()} BEFORE ${verb} ON JobExecutionLog
  WHEN NOT (${rule.holds('NEW.')})
  BEGIN SELECT RAISE(ABORT, '${column}: ${rule.says}'); END`)

const holdToRule = async (db: Kysely<unknown>, column: string, rule: ColumnRule): Promise<void> => {
  const { rows } = await sql.raw(offendersSql(rule)).execute(db)
  if (rows.length > 0) throw new Error(`JobExecutionLog has rows that break the rule of ${column} (${rule.says})`)
  for (const trigger of ruleTriggers(column, rule)) await sql.raw(trigger).execute(db)
}

/** Adds the columns that are missing, and holds the others to their rules. */
const addRecordColumns = async (db: Kysely<unknown>, columns: readonly RecordColumn[]): Promise<void> => {
  const { rows } = await sql<{ name: string }>`SELECT name FROM pragma_table_xinfo('JobExecutionLog')`.execute(db)
  const present = new Set(rows.map(({ name }) => name.toLowerCase()))
  for (const column of columns) {
    if (!present.has(column.name.toLowerCase())) {
      await sql.raw(`ALTER TABLE JobExecutionLog ADD COLUMN ${column.name} ${column.definition}`).execute(db)
    } else if (column.rule !== undefined) await holdToRule(db, column.name, column.rule)
  }
}

const isoForm = '%Y-%m-%dT%H:%M:%fZ'

// If the creation was not recorded, the start is the nearest known time. A number is read as `toTime` reads it.
const createdAt = sql.raw(`coalesce(createdAt,
    CASE WHEN typeof(startTime) = 'text' AND startTime GLOB '[0-9][0-9][0-9][0-9]-*' THEN startTime
      WHEN ${isNumber('startTime')} AND startTime >= 1e8
        THEN strftime('${isoForm}', startTime / CASE WHEN startTime < 1e11 THEN 1.0 ELSE 1000.0 END, 'unixepoch') END,
    strftime('${isoForm}', 'now'))`)

// Draws a version for each row, as if it were inserted now.
const drawVersions = [
  sql`INSERT INTO JobChange (jobId) SELECT jobId FROM JobExecutionLog ORDER BY rowid`,
  sql`UPDATE JobExecutionLog SET version = JobChange.version, createdAt = ${createdAt}
      FROM JobChange WHERE JobChange.jobId = JobExecutionLog.jobId`
]

// The other program's triggers are meant for its own changes, so they are dropped during this one and made again.
const withoutTriggers = async (db: Kysely<unknown>, work: () => Promise<void>): Promise<void> => {
  const { rows } = await sql<{ name: string, sql: string }>`
    SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND tbl_name = 'JobExecutionLog' COLLATE NOCASE`.execute(db)
  for (const { name } of rows) await sql`DROP TRIGGER ${sql.id(name)}`.execute(db)
  await work()
  for (const trigger of rows) await sql.raw(trigger.sql).execute(db)
}

/** Whether another program has made the table. */
export const isRecordThere = async (db: Kysely<unknown>): Promise<boolean> =>
  (await sql`SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'JobExecutionLog' COLLATE NOCASE`.execute(db)).rows.length > 0

/** Gives the table what it lacks of the first release, except the triggers. */
export const adoptRecord = async (db: Kysely<unknown>): Promise<void> => {
  await withoutTriggers(db, async () => {
    await addRecordColumns(db, firstColumns)
    for (const statement of drawVersions) await statement.execute(db)
  })
}
