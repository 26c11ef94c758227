import { setTimeout as delay } from 'node:timers/promises'
import SqliteDatabase from 'better-sqlite3'
import type { Transaction } from 'kysely'
import { ServiceFailure } from '../errors.ts'
import { type Database, isBusy } from './database.ts'
import type { Tables } from './tables.ts'

const { SqliteError } = SqliteDatabase

// How long a write waits, asynchronously, for another program's transaction to end.
const busyWaitMs = 5000
const busyPauseMsMin = 5
const busyPauseMsMax = 50

export type Write = Transaction<Tables>

/** Runs work in one write transaction, whole or not at all. Throws STORE_UNAVAILABLE when the database cannot take it. */
export type Transact = <Value>(work: (write: Write) => Promise<Value>) => Promise<Value>

// A failure of the database itself, as the client may hear of it; other errors as they are.
const toStoreFailure = (error: unknown): unknown =>
  error instanceof SqliteError && !error.code.startsWith('SQLITE_CONSTRAINT')
    ? new ServiceFailure('STORE_UNAVAILABLE', 'The job store cannot be used right now.', { retryAfterSeconds: 1 }, { cause: error })
    : error

/** Runs a read of the database. Throws STORE_UNAVAILABLE where the database fails. */
export const guardRead = <Value>(read: () => Value): Value => {
  try {
    return read()
  } catch (error) {
    throw toStoreFailure(error)
  }
}

/** `now` in milliseconds, of a clock that only goes forward. */
export const createTransact = ({ database, now }: { database: Database, now: () => number }): Transact =>
  async work => {
    const deadline = now() + busyWaitMs
    for (let pauseMs = busyPauseMsMin; ; pauseMs = Math.min(busyPauseMsMax, 2 * pauseMs)) {
      try {
        return await database.writer.transaction().execute(work)
      } catch (error) {
        if (!isBusy(error) || now() >= deadline) throw toStoreFailure(error)
        await delay(pauseMs)
      }
    }
  }
