import { DatabaseUnusable } from './errors.ts'

/*
 * The URL of the database in the form of the configuration: `sqlite:` and the path of a file as it is, or the URL of a
 * Postgres as its operator wrote it.
 */

const sqlite = 'sqlite:'

/** The path of the SQLite file; null: the database is another one. */
export const sqlitePathOf = (databaseUrl: string): string | null =>
  databaseUrl.startsWith(sqlite) ? databaseUrl.slice(sqlite.length) : null

/** How the database is named to its operator: the path, or the URL without user, password and parameters. */
export const databaseNameOf = (databaseUrl: string): string =>
  sqlitePathOf(databaseUrl) ?? databaseUrl.replace(/\?.*$/s, '').replace(/\/\/.*@/s, '//')

/** The path of the SQLite file. Throws DatabaseUnusable, with `why`, if the database is another one. */
export const requireSqlite = (databaseUrl: string, why: string): string => {
  const path = sqlitePathOf(databaseUrl)
  if (path === null) throw new DatabaseUnusable(databaseNameOf(databaseUrl), why)
  return path
}
