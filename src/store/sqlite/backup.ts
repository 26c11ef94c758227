import { closeSync, existsSync, fsyncSync, openSync, renameSync, rmSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import SqliteDatabase from 'better-sqlite3'
import { OperatorError } from '../../errors.ts'
import { findDamage } from './integrity-check.ts'
import { toDatabaseUnusable, openReader } from './database.ts'

/*
 * A backup is one file: a whole database without a log beside it. It is made page by page, in turns, so that the
 * process can be stopped between two of them.
 */

/** No backup was made, or none restored; the message, one line, says why. */
export class BackupRefused extends OperatorError {
  constructor (message: string, options?: ErrorOptions) {
    super(message.replace(/\s+/g, ' '), options)
    this.name = 'BackupRefused'
  }
}

/** What a backup holds: how many records, and the newest version drawn. */
export type BackupContents = { records: number, version: number }

// A script has nothing else to do meanwhile; in turns all the same, so that it can be stopped.
const pagesAtOnce = 2000

/** The reason in words, for the middle of a line. */
export const toReason = (error: unknown): string => error instanceof Error ? error.message : String(error)

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
 * Copies the state of one moment to a file that is there and empty, while others go on writing; the copy has no log
 * beside it. The connection must read only.
 */
export const copyDatabase = async (source: SqliteDatabase.Database, path: string): Promise<void> => {
  // Without a snapshot that is held the copy would begin anew with every commit of another connection.
  source.exec('BEGIN')
  source.pragma('schema_version')
  await source.backup(path, { progress: () => pagesAtOnce })
  source.exec('COMMIT')
  const copy = new SqliteDatabase(path)
  copy.pragma('journal_mode = DELETE')
  copy.close()
}

/** Looks a copy through from end to end. Throws, with the reason, where it is damaged or no database of this service. */
export const inspectCopy = (path: string): BackupContents => {
  const copy = new SqliteDatabase(path, { readonly: true, fileMustExist: true })
  try {
    const damage = findDamage(copy, 'thorough')
    if (damage !== undefined) throw new Error(`it is damaged: ${damage}`)
    const isOurs = copy.prepare("SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name IN ('ServiceState', 'JobExecutionLog', 'JobQueue')").pluck().get()
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
    // Inputs and results of all tenants: for its owner alone.
    closeSync(openSync(path, 'wx', 0o600))
  } catch (error) {
    if (existsSync(path)) throw new BackupRefused(`${path} is there already, and is not overwritten`)
    throw new BackupRefused(`${path} cannot be written: ${toReason(error)}`, { cause: error })
  }
}

/**
 * Writes a backup, of one moment, of a database that a service may be using; under its name it is whole, or empty where
 * this was cut off. `sizeBytes` is that of the file. Throws BackupRefused, DatabaseUnusable.
 */
export const writeBackup = async (databasePath: string, path: string): Promise<BackupContents & { sizeBytes: number }> => {
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
      throw error instanceof BackupRefused ? error : new BackupRefused(`${databasePath} was not backed up: ${toReason(error)}`, { cause: error })
    }
  } finally {
    source.close()
  }
}
