import { realpathSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import SqliteDatabase from 'better-sqlite3'

/** Another service process works on this database, and the two cannot do so together. */
export class DatabaseInUse extends Error {
  constructor (path: string) {
    super(`another service process is using ${path}: several processes on one database must share a cache; set REDIS_URL for all of them, or stop the other one`)
    this.name = 'DatabaseInUse'
  }
}

/*
 * Which service processes may work on one database; plain SQL clients go on as before. The locks are open transactions on
 * a file beside the database, so the kernel gives them back when their holder dies, however it dies.
 */
const openLock = (databasePath: string) => {
  const connection = new SqliteDatabase(`${realpathSync(databasePath)}.lock`, { timeout: 0 })
  const tryTo = (lock: () => void): boolean => {
    try {
      lock()
      return true
    } catch (error) {
      if (connection.inTransaction) connection.exec('ROLLBACK')
      if (error instanceof SqliteDatabase.SqliteError && error.code.startsWith('SQLITE_BUSY')) return false
      connection.close()
      throw error
    }
  }
  return {
    takeAlone: () => tryTo(() => connection.exec('BEGIN EXCLUSIVE')),
    takeShared: () => tryTo(() => {
      connection.exec('BEGIN')
      // Only a read takes the lock.
      connection.prepare('SELECT count(*) FROM sqlite_schema').get()
    }),
    giveBack: () => { connection.exec('COMMIT') },
    close: () => { connection.close() }
  }
}

/** Keeps all other service processes off this database. Returns what releases it. Throws DatabaseInUse. */
export const lockForProcess = (databasePath: string): (() => void) => {
  const lock = openLock(databasePath)
  if (lock.takeAlone()) return lock.close
  lock.close()
  throw new DatabaseInUse(databasePath)
}

/** A place among the processes that share a database. */
export type SharedLock = {
  release: () => void
  /** Keeps all others off, from now on; false: there are some. */
  exclude: () => boolean
  /** Lets others in again. */
  admit: () => void
}

// Another that starts has the lock to itself for a moment.
const trialsMax = 40
const pauseMs = 25

const takeShared = async (databasePath: string, lock: ReturnType<typeof openLock>): Promise<void> => {
  for (let trial = 1; !lock.takeShared(); trial++) {
    if (trial === trialsMax) {
      lock.close()
      throw new DatabaseInUse(databasePath)
    }
    await delay(pauseMs)
  }
}

/**
 * Keeps those service processes off this database that do not share it. `whileAlone` is called if there is no other one
 * at all, and before any other can come. Throws DatabaseInUse, and what `whileAlone` throws.
 */
export const shareAmongProcesses = async (databasePath: string, whileAlone: () => void): Promise<SharedLock> => {
  const lock = openLock(databasePath)
  if (lock.takeAlone()) {
    try {
      whileAlone()
    } catch (error) {
      lock.close()
      throw error
    }
    lock.giveBack()
  }
  await takeShared(databasePath, lock)
  return {
    release: lock.close,
    exclude: () => {
      lock.giveBack()
      if (lock.takeAlone()) return true
      lock.takeShared()
      return false
    },
    admit: () => {
      lock.giveBack()
      lock.takeShared()
    }
  }
}
