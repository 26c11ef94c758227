import { type Kysely, sql } from 'kysely'

/*
 * Columns that are added to a JobExecutionLog which other programs may have made or widened. One that is there already
 * is taken as it is, with its values; since SQLite adds no CHECK to it, triggers hold its rule.
 */

/** The table that others write too. */
export const recordTable = 'JobExecutionLog'

/** `holds`: the rule as SQL, never null, of columns with `row` before their names. `says`: the rule in words. */
export type ColumnRule = { holds: (row: '' | 'NEW.') => string, says: string }

/** `definition`: what follows the name in ADD COLUMN, the rule as a CHECK included. */
export type RecordColumn = { name: string, definition: string, rule?: ColumnRule }

const isColumn = (name: string) => (other: string): boolean => other.toLowerCase() === name.toLowerCase()

/** Those of the columns that are in the table already; `names` are its columns, in any case. */
export const columnsPresent = (columns: readonly RecordColumn[], names: readonly string[]): RecordColumn[] =>
  columns.filter(({ name }) => names.some(isColumn(name)))

/** SQL that finds the rows which break a rule. */
export const offendersSql = (rule: ColumnRule, select: string): string =>
  `SELECT ${select} FROM ${recordTable} WHERE NOT (${rule.holds('')})`

const ruleTriggers = (column: string, rule: ColumnRule): string[] => ['INSERT', 'UPDATE'].map(verb => `
  CREATE TRIGGER ${recordTable}_${column}_rule_${verb.toLowerCase()} BEFORE ${verb} ON ${recordTable}
  WHEN NOT (${rule.holds('NEW.')})
  BEGIN SELECT RAISE(ABORT, '${column}: ${rule.says}'); END`)

const holdToRule = async (db: Kysely<unknown>, column: string, rule: ColumnRule): Promise<void> => {
  const { rows } = await sql.raw(`${offendersSql(rule, '1')} LIMIT 1`).execute(db)
  if (rows.length > 0) throw new Error(`${recordTable} has rows that break the rule of ${column} (${rule.says})`)
  for (const trigger of ruleTriggers(column, rule)) await sql.raw(trigger).execute(db)
}

/** Adds the columns that are missing, and holds the others to their rules. */
export const addRecordColumns = async (db: Kysely<unknown>, columns: readonly RecordColumn[]): Promise<void> => {
  const { rows } = await sql<{ name: string }>`SELECT name FROM pragma_table_xinfo(${recordTable})`.execute(db)
  const present = columnsPresent(columns, rows.map(({ name }) => name))
  for (const column of columns) {
    if (!present.includes(column)) {
      await sql.raw(`ALTER TABLE ${recordTable} ADD COLUMN ${column.name} ${column.definition}`).execute(db)
    } else if (column.rule !== undefined) await holdToRule(db, column.name, column.rule)
  }
}
