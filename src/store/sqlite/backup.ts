import { closeSync, existsSync, fsyncSync, openSync, renameSync, rmSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import SqliteDatabase from 'better-sqlite3'
import { OperatorError } from '../../errors.ts'
import { findDamage } from './integrity-check.ts'
import { toDatabaseUnusable, openReader } from './database.ts'

/*
 * A backup is one file: a whole database without a log beside it. It is copied page by page, in several steps, so that
 * a signal can stop the script between two of them.
 */

/** A backup was not made or not restored. The message, one line, says why. */
export class BackupFailed extends OperatorError {
  constructor (message: string, options?: ErrorOptions) {
    super(message.replace(/\s+/g, ' '), options)
    this.name = 'BackupFailed'
  }
}

/** What a backup holds: how many records, and the newest version drawn. */
export type BackupContents = { records: number, version: number }

// The script waits for nothing else, but it copies in steps so that a signal can stop it.
const pagesAtOnce = 2000

/** The reason in words, to be put into a line. */
export const messageOf = (error: unknown): string => error instanceof Error ? error.message : String(error)

/** Makes sure that what was written to a file or a folder is on the disk. */
export const syncToDisk = (path: string): void => {
  const file = openSync(path, 'r')
  try {
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
}

/**
 * Copies the state of one moment to an existing empty file, while other connections write. The copy has no log beside
 * it. The connection must be read-only.
 */
export const copyDatabase = async (source: SqliteDatabase.Database, path: string): Promise<void> => {
  // Without an open snapshot, the copy would begin again with every commit of another connection.
  source.exec('BEGIN')
  source.pragma('schema_version')
  await source.backup(path, { progress: () => pagesAtOnce })
  source.exec('COMMIT')
  const copy = new SqliteDatabase(path)
  copy.pragma('journal_mode = DELETE')
  copy.close()
}

/** Checks a copy completely. Throws, with the reason, if it is damaged or is no database of this service. */
export const inspectCopy = (path: string): BackupContents => {
  const copy = new SqliteDatabase(path, { readonly: true, fileMustExist: true })
  try {
    const damage = findDamage(copy, 'thorough')
    if (damage !== undefined) throw new Error(`it is damaged: ${damage}`)
    const isOurs = copy.prepare(`
      SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name IN ('ServiceState', 'JobExecutionLog', 'JobQueue')`)
      .pluck().get()
    if (isOurs !== 3) throw new Error('it is no database of this service')
    const records = copy.prepare('SELECT count(*) FROM JobExecutionLog').pluck().get()
    const version = copy.prepare("SELECT seq FROM sqlite_sequence WHERE name = 'JobChange'").pluck().get()
    return { records: Number(records), version: Number(version ?? 0) }
  } finally {
    copy.close()
  }
}

const openSource = (databasePath: string): SqliteDatabase.Database => {
  try {
    const source = openReader(databasePath)
    source.pragma('schema_version')
    return source
  } catch (error) {
    throw toDatabaseUnusable(databasePath, error)
  }
}

const reserve = (path: string): void => {
  try {
    // The file has inputs and results of all tenants, so only its owner may read it.
    closeSync(openSync(path, 'wx', 0o600))
  } catch (error) {
    if (existsSync(path)) throw new BackupFailed(`${path} is there already, and is not overwritten`)
    throw new BackupFailed(`${path} cannot be written: ${messageOf(error)}`, { cause: error })
  }
}

/**
 * Writes a backup of one moment; a service may use the database meanwhile. The file with the backup's name is
 * complete, or empty if the program was killed. `sizeBytes` is that of the file. Throws BackupFailed,
 * DatabaseUnusable.
 */
export const writeBackup = async (
  databasePath: string, path: string
): Promise<BackupContents & { sizeBytes: number }> => {
  const source = openSource(databasePath)
  try {
    reserve(path)
    const draft = `${path}.${process.pid}.partial`
    try {
      reserve(draft)
      await copyDatabase(source, draft)
      const contents = inspectCopy(draft)
      syncToDisk(draft)
      renameSync(draft, path)
      syncToDisk(dirname(path))
      return { ...contents, sizeBytes: statSync(path).size }
    } catch (error) {
      for (const part of [draft, `${draft}-journal`, path]) rmSync(part, { force: true })
      if (error instanceof BackupFailed) throw error
      throw new BackupFailed(`${databasePath} was not backed up: ${messageOf(error)}`, { cause: error })
    }
  } finally {
    source.close()
  }
}
