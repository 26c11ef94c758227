/*
 * The columns that the migrations add to JobExecutionLog, which another program may have made or widened. A column
 * that is there already is taken as it is, with its values; since SQLite adds no CHECK to it, triggers hold it to its
 * rule. Migrations take the types from here and keep what they execute to themselves, so that none changes after a
 * release.
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
