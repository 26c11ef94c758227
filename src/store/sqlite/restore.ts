import { chmodSync, closeSync, copyFileSync, existsSync, linkSync, openSync, realpathSync, renameSync, rmSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import SqliteDatabase from 'better-sqlite3'
import { sql } from 'kysely'
import { type BackupContents, BackupRefused, copyDatabase, inspectCopy, syncToDisk, toReason } from './backup.ts'
import { isBusy, makeFolder, openDatabase } from './database.ts'
import { migrate } from './migrations/migrate.ts'
import { DatabaseInUse } from '../errors.ts'
import { lockForProcess } from './process-lock.ts'

/** What was restored, and under which name the database stands that was there before; null: none was. */
export type Restored = BackupContents & { keptAs: string | null }

const besideNames = ['-wal', '-shm', '-journal']
// How long it is waited for another program to let the database go.
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
 * The versions between the backup and the accident are drawn again, for other changes. So what anyone holds of them (an
 * ETag, a cell of the cache) must mean nothing: the incarnation is part of each of them. Whoever held a lease at the time
 * of the backup knows nothing of this database: their runs are over, and the service rescues the jobs.
 */
const beginAnew = async (path: string): Promise<void> => {
  const database = openDatabase(path)
  try {
    // Refuses what a newer version made.
    await migrate(database.writer)
    await database.writer.transaction().execute(async tx => {
      await tx.updateTable('ServiceState').set({ value: sql`lower(hex(randomblob(8)))` }).where('name', '=', 'incarnation').execute()
      await tx.updateTable('JobQueue').set({ leaseExpiresAt: 0 }).where('leaseToken', 'is not', null).execute()
    })
  } finally {
    await database.close()
  }
}

/** Keeps every program off the old database, from now on; undefined where it is too damaged to be opened. */
const holdOld = (path: string): SqliteDatabase.Database | undefined => {
  const old = new SqliteDatabase(path, { timeout: busyTimeoutMs })
  try {
    // Only the last connection may do so. It takes the whole log into the file, which is then all there is to keep.
    old.pragma('journal_mode = DELETE')
    old.exec('BEGIN EXCLUSIVE')
    return old
  } catch (error) {
    old.close()
    if (isBusy(error)) throw new BackupRefused(`another program has ${path} open: nothing was restored`, { cause: error })
    return undefined
  }
}

// What is too damaged to be opened loses its log when that is tried: it is copied before.
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
  // Of a damaged database only: the log would be taken for one of the database that comes in its place.
  for (const name of besideNames) if (existsSync(path + name)) renameSync(path + name, keptAs + name)
  try {
    linkSync(path, keptAs)
  } catch {
    // A file system without links: for a moment there is no database.
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

const lock = (path: string): (() => void) => {
  try {
    return lockForProcess(path)
  } catch (error) {
    if (error instanceof DatabaseInUse) throw new BackupRefused(`a service process is using ${path}: stop it, then restore`, { cause: error })
    throw error
  }
}

// The lock stands beside a file.
const makeEmpty = (path: string): void => {
  makeFolder(dirname(path))
  closeSync(openSync(path, 'a'))
}

/**
 * Puts a backup in the place of the database, which no program may have open, and keeps what was there. `now` in ms since
 * 1970. Either all of it is done or nothing. Throws BackupRefused.
 */
export const restoreBackup = async (backup: string, databasePath: string, now: number): Promise<Restored> => {
  if (!existsSync(backup)) throw new BackupRefused(`there is no file ${backup}`)
  const isNew = !existsSync(databasePath)
  if (isNew) makeEmpty(databasePath)
  const path = realpathSync(databasePath)
  if (realpathSync(backup) === path) throw new BackupRefused(`${backup} is the database itself`)
  const unlock = lock(path)
  const draft = `${path}.${process.pid}.restoring`
  try {
    const contents = await copyBackup(backup, draft)
    await beginAnew(draft)
    return { ...contents, keptAs: putInPlace(draft, path, now) }
  } catch (error) {
    for (const left of ['', ...besideNames].map(name => draft + name)) rmSync(left, { force: true })
    if (isNew) rmSync(path)
    if (error instanceof BackupRefused) throw error
    const cause = error instanceof Error && error.cause !== undefined ? error.cause : error
    throw new BackupRefused(`${backup} was not restored: ${toReason(cause)}`, { cause: error })
  } finally {
    unlock()
  }
}
