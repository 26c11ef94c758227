import { realpathSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import SqliteDatabase from 'better-sqlite3'
import { DatabaseInUse } from '../errors.ts'

/*
 * Decides which service processes may work on one database; plain SQL clients are not affected. A process whose cache
 * is its own memory locks the database exclusively, processes that share a Redis share the lock.
 *
 * The lock is an open transaction on a file beside the database, so the kernel releases it when its holder dies,
 * however it dies.
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
      throw error
    }
  }
  return {
    lockExclusive: () => tryTo(() => connection.exec('BEGIN EXCLUSIVE')),
    lockShared: () => tryTo(() => {
      connection.exec('BEGIN')
      // Only a read takes the lock.
      connection.prepare('SELECT count(*) FROM sqlite_schema').get()
    }),
    unlock: () => { connection.exec('COMMIT') },
    /** Releases the lock, if it is held. */
    close: () => { connection.close() }
  }
}

type Lock = ReturnType<typeof openLock>

/** Keeps all other service processes off this database. Returns what releases it. Throws DatabaseInUse. */
export const lockForProcess = (databasePath: string): (() => void) => {
  const { lockExclusive, close } = openLock(databasePath)
  try {
    if (!lockExclusive()) throw new DatabaseInUse(databasePath)
  } catch (error) {
    close()
    throw error
  }
  return close
}

// Another process that starts holds the lock exclusively for a moment.
const trialsMax = 40
const pauseMs = 25

/*
 * SQLite cannot turn an exclusive lock into a shared one: it has to be released in between, and another process may
 * then take it. That is harmless. What `whileAlone` found out, the leftovers of processes that have ended, stays true,
 * because a process never uses a name that another one had. If the other process keeps the lock to itself, this one
 * does not start.
 */
const tryToShare = ({ lockExclusive, lockShared, unlock }: Lock, whileAlone: () => void): boolean => {
  if (lockExclusive()) {
    whileAlone()
    unlock()
  }
  return lockShared()
}

/**
 * Shares the database with the service processes that share it too, and keeps all others off. `whileAlone` is called
 * if no other process holds the lock, and before any other can get it. Returns what releases the lock. Throws
 * DatabaseInUse, and what `whileAlone` throws.
 */
export const shareAmongProcesses = async (databasePath: string, whileAlone: () => void): Promise<() => void> => {
  const lock = openLock(databasePath)
  try {
    for (let trial = 1; !tryToShare(lock, whileAlone); trial++) {
      if (trial === trialsMax) throw new DatabaseInUse(databasePath)
      await delay(pauseMs)
    }
  } catch (error) {
    lock.close()
    throw error
  }
  return lock.close
}
