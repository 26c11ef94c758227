import { DatabaseUnusable } from '../errors.ts'

/*
 * The URL of the database in the form of the configuration: `sqlite:` and the path of a file as it is, or the URL of a
 * Postgres as its operator wrote it.
 */

const sqlite = 'sqlite:'

/** The path of the SQLite file; null: the database is another one. */
export const sqlitePathOf = (databaseUrl: string): string | null =>
  databaseUrl.startsWith(sqlite) ? databaseUrl.slice(sqlite.length) : null

// The hosts with their ports, and the database.
const nameForm = /^(?:(?:\[[\w.:%]+\]|[^:[\]/@]*)(?::\d*)?(?:,|(?=\/|$)))*(?:\/[^/]*)?$/

/*
 * A password with a character that should have been encoded can be anywhere in a URL: an @ behind the first question mark
 * may end a password or belong to a parameter, and what stands for the port may be one. Then only the protocol is safe.
 */
const withoutSecrets = (url: string): string => {
  const [, protocol = '', rest = ''] = /^(\w+:\/\/)?(.*)$/s.exec(url) ?? []
  const [first = '', ...others] = rest.split(/[?#]/)
  const name = first.slice(first.lastIndexOf('@') + 1)
  return nameForm.test(name) && !others.some(other => other.includes('@')) ? `${protocol}${name}` : `${protocol}…`
}

/** How the database is named to its operator: the path, or the URL without user, password and parameters. */
export const databaseNameOf = (databaseUrl: string): string =>
  sqlitePathOf(databaseUrl) ?? withoutSecrets(databaseUrl)

/** The path of the SQLite file. Throws DatabaseUnusable, with `why`, if the database is another one. */
export const requireSqlite = (databaseUrl: string, why: string): string => {
  const path = sqlitePathOf(databaseUrl)
  if (path === null) throw new DatabaseUnusable(databaseNameOf(databaseUrl), why)
  return path
}
