import { existsSync, realpathSync, statSync } from 'node:fs'
import type SqliteDatabase from 'better-sqlite3'
import { toDatabaseUnusable, openReader } from './database.ts'

// SQLite reports these about a table that another program has made; they are no damage.
const odd = /^CHECK constraint failed in |^(NULL|NUMERIC|TEXT|non-\w+) value in /
const verdictsMax = 100

/** `quick` compares no index with its table, row by row, and takes a quarter of the time of `thorough`. */
export type IntegrityCheck = 'quick' | 'thorough'

/** The first damage found in a database, or undefined. */
export const findDamage = (connection: SqliteDatabase.Database, how: IntegrityCheck): string | undefined => {
  connection.pragma('ignore_check_constraints = ON')
  const check = how === 'quick' ? 'quick_check' : 'integrity_check'
  const verdicts = connection.prepare<[], string>(`PRAGMA ${check}(${verdictsMax})`).pluck().all()
  return verdicts.find(verdict => verdict !== 'ok' && !odd.test(verdict))
}

// A database of this size is checked in half a second.
const alwaysBytesMax = 64 * 1024 * 1024

/**
 * How to check a database before it is used, if at all: a small one always, a larger one if it was not closed
 * properly, which shows in a log that was left beside it. To be called before the database is opened.
 */
export const chooseCheck = (path: string): IntegrityCheck | undefined => {
  if (!existsSync(path)) return undefined
  if (statSync(path).size <= alwaysBytesMax) return 'thorough'
  const log = `${realpathSync(path)}-wal`
  return existsSync(log) && statSync(log).size > 0 ? 'quick' : undefined
}

/**
 * Checks a database; a gigabyte takes some seconds. A killed process does no harm, but a log that was cut short or
 * taken away, for example by an incomplete copy, leaves older pages among newer ones. Throws DatabaseUnusable.
 */
export const assertIntegrity = (path: string, how: IntegrityCheck): void => {
  const connection = openReader(path)
  try {
    const damage = findDamage(connection, how)
    if (damage !== undefined) throw new Error(`it is damaged (${damage}): restore a backup with npm run restore`)
  } catch (error) {
    throw toDatabaseUnusable(path, error)
  } finally {
    connection.close()
  }
}
