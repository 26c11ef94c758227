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
 * files beside the database, so the kernel gives them back when their holder dies, however it dies.
 *
 * The place tells who is there: a process has it alone, or shares it. SQLite cannot turn the one into the other: the
 * place has to be given back first, and whoever looked in that moment would find a database that nobody uses. So only
 * who is in the gate takes a place or changes it.
 */
const openLock = (path: string) => {
  const connection = new SqliteDatabase(path, { timeout: 0 })
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
    isHeld: () => connection.inTransaction,
    unlock: () => { if (connection.inTransaction) connection.exec('COMMIT') },
    close: () => { connection.close() }
  }
}

type Lock = ReturnType<typeof openLock>

const openLocks = (databasePath: string) => {
  const path = realpathSync(databasePath)
  const lock = openLock(`${path}.lock`)
  const turnstile = (() => {
    try {
      return openLock(`${path}.gate.lock`)
    } catch (error) {
      lock.close()
      throw error
    }
  })()
  const close = () => {
    lock.close()
    turnstile.close()
  }
  return { lock, turnstile, close }
}

/** Keeps all other service processes off this database. Returns what releases it. Throws DatabaseInUse. */
export const lockForProcess = (databasePath: string): (() => void) => {
  const { lock, turnstile, close } = openLocks(databasePath)
  try {
    if (!turnstile.lockExclusive() || !lock.lockExclusive()) throw new DatabaseInUse(databasePath)
  } catch (error) {
    close()
    throw error
  }
  turnstile.close()
  return lock.close
}

/** A place among the processes that share a database. */
export type SharedLock = {
  release: () => void
  /** Keeps all others off, from now on; false: there are some. */
  exclude: () => boolean
  /** Lets others in again. */
  admit: () => void
}

// Another that starts is in the gate for a moment.
const trialsMax = 40
const pauseMs = 25

type Locks = { lock: Lock, turnstile: Lock }

const takePlace = ({ lock, turnstile }: Locks, whileAlone: () => void): boolean => {
  if (!turnstile.lockExclusive()) return false
  try {
    if (lock.lockExclusive()) {
      whileAlone()
      lock.unlock()
    }
    return lock.lockShared()
  } finally {
    turnstile.unlock()
  }
}

const createSharedLock = ({ lock, turnstile }: Locks, close: () => void): SharedLock => {
  let isAlone = false
  let timer: NodeJS.Timeout | undefined
  const giveBack = () => {
    clearTimeout(timer)
    lock.unlock()
  }
  const tryToShare = (): boolean => {
    try {
      return lock.lockShared()
    } catch {
      // A disk that fails now may not later.
      return false
    }
  }
  // Service processes mind the gate, but any other program can have the file of the place for a while. Until it is
  // taken again nobody else may pass.
  const share = () => {
    clearTimeout(timer)
    if (!tryToShare()) {
      timer = setTimeout(share, pauseMs).unref()
      return
    }
    turnstile.unlock()
  }
  return {
    release: () => {
      clearTimeout(timer)
      close()
    },
    exclude: () => {
      if (isAlone) return true
      if (!turnstile.isHeld() && !turnstile.lockExclusive()) return false
      giveBack()
      isAlone = lock.lockExclusive()
      if (!isAlone) share()
      return isAlone
    },
    admit: () => {
      if (!isAlone) return
      isAlone = false
      giveBack()
      share()
    }
  }
}

/**
 * Keeps those service processes off this database that do not share it. `whileAlone` is called if there is no other one
 * at all, and before any other can come. Throws DatabaseInUse, and what `whileAlone` throws.
 */
export const shareAmongProcesses = async (databasePath: string, whileAlone: () => void): Promise<SharedLock> => {
  const { lock, turnstile, close } = openLocks(databasePath)
  try {
    for (let trial = 1; !takePlace({ lock, turnstile }, whileAlone); trial++) {
      if (trial === trialsMax) throw new DatabaseInUse(databasePath)
      await delay(pauseMs)
    }
  } catch (error) {
    close()
    throw error
  }
  return createSharedLock({ lock, turnstile }, close)
}
