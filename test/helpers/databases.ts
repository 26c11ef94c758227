import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

const run = promisify(execFile)

/**
 * The databases of the services that a test starts. A test names each by a path, so that two services with the same
 * path share one; on Postgres the path is a name and nothing more.
 */
export type Databases = {
  /** The value of DATABASE_URL. */
  urlOf: (path: string) => Promise<string>
  /** Runs SQL as another program does. Returns the rows, one a line, with columns separated by |. */
  sql: (path: string, sql: string) => Promise<string>
  /** Bytes as SQL writes them. */
  bytes: (bytes: Buffer) => string
  /** Runs SQL past the CHECKs of the record. */
  sqlUnchecked: (path: string, sql: string) => Promise<string>
  /** Removes all changes from the log but the last one, as the pruner does. */
  pruneToLastChange: (path: string) => Promise<string>
}

/** Runs SQL with the sqlite3 program: a writer that has nothing of ours in it. */
export const sqlite3 = async (path: string, sql: string): Promise<string> =>
  (await run('sqlite3', ['-cmd', '.timeout 5000', path, sql])).stdout.trim()

const files: Databases = {
  urlOf: path => Promise.resolve(`sqlite:${path}`),
  sql: sqlite3,
  bytes: bytes => `x'${bytes.toString('hex')}'`,
  sqlUnchecked: (path, sql) => sqlite3(path, `PRAGMA ignore_check_constraints = ON; ${sql}`),
  pruneToLastChange: path => sqlite3(path, 'DELETE FROM JobChange WHERE version < (SELECT max(version) FROM JobChange)')
}

let current = files

/** Those that the tests of this process use: SQLite files, unless others were chosen. */
export const databases = (): Databases => current

/** Chooses them for all services that this process starts from now on. */
export const useDatabases = (chosen: Databases): void => { current = chosen }
