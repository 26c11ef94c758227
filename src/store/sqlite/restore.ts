import {
  chmodSync, closeSync, copyFileSync, existsSync, linkSync, openSync, realpathSync, renameSync, rmSync, statSync
} from 'node:fs'
import { dirname } from 'node:path'
import SqliteDatabase from 'better-sqlite3'
import { sql } from 'kysely'
import { type BackupContents, BackupFailed, copyDatabase, inspectCopy, syncToDisk, messageOf } from './backup.ts'
import { isBusy, makeFolder, openDatabase } from './database.ts'
import { migrate } from './migrations/migrate.ts'
import { DatabaseInUse, DatabaseUnusable } from '../errors.ts'
import { lockForProcess } from './process-lock.ts'

/** What was restored. `keptAs` is the new path of the previous database; null if there was none. */
export type Restored = BackupContents & { keptAs: string | null }

const besideNames = ['-wal', '-shm', '-journal']
// How long the restore waits for another program to close the database.
const busyTimeoutMs = 2000

const copyBackup = async (backup: string, draft: string): Promise<BackupContents> => {
  const source = new SqliteDatabase(backup, { readonly: true, fileMustExist: true })
  try {
    closeSync(openSync(draft, 'wx', 0o600))
    await copyDatabase(source, draft)
  } finally {
    source.close()
  }
  return inspectCopy(draft)
}

/*
 * The versions drawn between the backup and the accident are drawn again, for other changes. So what clients and
 * caches hold of them (ETags, cells, cursors) must become void: the incarnation is part of each. Leases of the time of
 * the backup are void, since their workers do not know this database, and the service rescues their jobs.
 */
const renewIncarnation = async (path: string): Promise<void> => {
  const database = openDatabase(path)
  try {
    // Throws if a newer release made the database.
    await migrate(database.writer)
    await database.writer.transaction().execute(async tx => {
      await tx.updateTable('ServiceState').set({
        value: sql`lower(hex(randomblob(8)))`
      }).where('name', '=', 'incarnation').execute()
      // Tokens that no worker has: a report before the rescue would continue a run that this database does not know.
      await tx.updateTable('JobQueue').set({ leaseExpiresAt: 0, leaseToken: sql`lower(hex(randomblob(16)))` })
        .where('leaseToken', 'is not', null).execute()
    })
  } finally {
    await database.close()
  }
}

/** Locks the previous database against every program; undefined if it is too damaged to be opened. */
const holdOld = (path: string): SqliteDatabase.Database | undefined => {
  const old = new SqliteDatabase(path, { timeout: busyTimeoutMs })
  try {
    // Only the last connection can do this. It moves the log into the file, which is then all that has to be kept.
    old.pragma('journal_mode = DELETE')
    old.exec('BEGIN EXCLUSIVE')
    return old
  } catch (error) {
    old.close()
    if (isBusy(error)) {
      throw new BackupFailed(`another program has ${path} open: nothing was restored`, { cause: error })
    }
    return undefined
  }
}

// An attempt to open a database that is too damaged deletes its log, so the log is copied before.
const holdOrKeepLog = (path: string, keptAs: string): SqliteDatabase.Database | undefined => {
  const hasLog = existsSync(`${path}-wal`)
  if (hasLog) copyFileSync(`${path}-wal`, `${keptAs}-wal`)
  let isHopeless = false
  try {
    const old = holdOld(path)
    isHopeless = old === undefined
    return old
  } finally {
    if (!isHopeless) rmSync(`${keptAs}-wal`, { force: true })
  }
}

const keepOld = (path: string, keptAs: string): void => {
  // Only a damaged database still has these. Left in place, SQLite would apply the log to the restored database.
  for (const name of besideNames) if (existsSync(path + name)) renameSync(path + name, keptAs + name)
  try {
    linkSync(path, keptAs)
  } catch {
    // The file system has no hard links, so there is no database for a moment.
    renameSync(path, keptAs)
  }
}

const putInPlace = (draft: string, path: string, now: number): string | null => {
  const { size, mode } = statSync(path)
  const isKept = size > 0 || existsSync(`${path}-wal`)
  const keptAs = isKept ? `${path}.before-${new Date(now).toISOString().replace(/[:.]/g, '-')}` : null
  const old = keptAs === null ? undefined : holdOrKeepLog(path, keptAs)
  try {
    if (isKept) chmodSync(draft, mode)
    syncToDisk(draft)
    if (keptAs !== null) keepOld(path, keptAs)
    renameSync(draft, path)
    syncToDisk(dirname(path))
  } finally {
    old?.close()
  }
  return keptAs
}

const lock = (path: string, task: string): (() => void) => {
  try {
    return lockForProcess(path)
  } catch (error) {
    if (error instanceof DatabaseInUse) {
      throw new BackupFailed(`a service process is using ${path}: stop it, then ${task}`, { cause: error })
    }
    throw error
  }
}

// The lock is a file beside the database, which therefore has to exist.
const makeEmpty = (path: string): void => {
  makeFolder(dirname(path))
  closeSync(openSync(path, 'a'))
}

/**
 * Replaces the database, which no program may have open, by a backup, and keeps the previous one. `now` in ms since
 * 1970. Does all of it or nothing. Throws BackupFailed.
 */
export const restoreBackup = async (backup: string, databasePath: string, now: number): Promise<Restored> => {
  if (!existsSync(backup)) throw new BackupFailed(`there is no file ${backup}`)
  const isNew = !existsSync(databasePath)
  if (isNew) makeEmpty(databasePath)
  const path = realpathSync(databasePath)
  if (realpathSync(backup) === path) throw new BackupFailed(`${backup} is the database itself`)
  const unlock = lock(path, 'restore')
  const draft = `${path}.${process.pid}.restoring`
  try {
    const contents = await copyBackup(backup, draft)
    await renewIncarnation(draft)
    return { ...contents, keptAs: putInPlace(draft, path, now) }
  } catch (error) {
    for (const left of ['', ...besideNames].map(name => draft + name)) rmSync(left, { force: true })
    if (isNew) rmSync(path)
    if (error instanceof BackupFailed) throw error
    const cause = error instanceof Error && error.cause !== undefined ? error.cause : error
    throw new BackupFailed(`${backup} was not restored: ${messageOf(cause)}`, { cause: error })
  } finally {
    unlock()
  }
}

/**
 * Renews the incarnation of a database that was put in place by hand, as a restore does. No service may have it open.
 * Throws BackupFailed and DatabaseUnusable.
 */
export const renewDatabase = async (databasePath: string): Promise<void> => {
  if (!existsSync(databasePath)) throw new DatabaseUnusable(databasePath, 'there is no such file')
  const path = realpathSync(databasePath)
  const unlock = lock(path, 'renew its incarnation')
  try {
    await renewIncarnation(path)
  } finally {
    unlock()
  }
}
