import { setImmediate as nextTurn, setTimeout as delay } from 'node:timers/promises'
import SqliteDatabase from 'better-sqlite3'
import { sql } from 'kysely'
import { ServiceFailure } from '../../errors.ts'
import { DatabaseMoved } from '../errors.ts'
import type { Transact, Tx } from '../store.ts'
import { type Database, isBusy, withReason } from './database.ts'

const { SqliteError } = SqliteDatabase

// How long a write waits, asynchronously, for another program's transaction to end.
const busyWaitMs = 5000
const busyPauseMsMin = 5
const busyPauseMsMax = 50
// Both bound how long reads wait for the writes of one turn. The time is checked between two works.
const togetherMax = 32
const togetherMsMax = 8

// A failure of the database itself becomes one that a client may see; other errors stay as they are.
const toStoreFailure = (error: unknown): unknown => {
  const isOfSqlite = error instanceof SqliteError && !error.code.startsWith('SQLITE_CONSTRAINT')
  if (!isOfSqlite && !(error instanceof DatabaseMoved)) return error
  const cause = isOfSqlite ? withReason(error) : error
  return new ServiceFailure('STORE_UNAVAILABLE', 'The job store cannot be used right now.', { retryAfterSeconds: 1 }, {
    cause
  })
}

/** Runs a read of the database. Throws STORE_UNAVAILABLE if the database fails, or is no longer at its path. */
export const guardRead = <Value>(
  { files }: { files: Pick<Database['files'], 'requireFound'> }, read: () => Value
): Value => {
  try {
    files.requireFound()
    return read()
  } catch (error) {
    throw toStoreFailure(error)
  }
}

/** `now` in ms of a clock that only goes forward. */
export type TransactNeeds = { database: Database, now: () => number }

type Waiting = {
  work: (tx: Tx) => Promise<unknown>
  deadline: number
  resolve: (value: never) => void
  reject: (failure: unknown) => void
}

type Settle = () => void

// One of several works in a transaction. If it fails, its statements are undone and those of the others stay.
const runInSavepoint = async (tx: Tx, { work, resolve, reject }: Waiting): Promise<Settle> => {
  await sql`savepoint work`.execute(tx)
  try {
    const value = await work(tx) as never
    await sql`release work`.execute(tx)
    return () => { resolve(value) }
  } catch (error) {
    // A busy database is tried again as a whole. If SQLite has rolled back the transaction, the second statement fails
    // too.
    if (isBusy(error)) throw error
    await sql`rollback to work`.execute(tx).catch(() => { throw error })
    await sql`release work`.execute(tx)
    return () => { reject(toStoreFailure(error)) }
  }
}

// Runs the first of these works, at least one. The next commit takes the others.
const commitTogether = async ({ database, now }: TransactNeeds, works: readonly Waiting[]): Promise<Settle[]> => {
  const { files, writer } = database
  files.requireFound()
  const settles = await writer.transaction().execute(async tx => {
    const settles: Settle[] = []
    const began = now()
    for (const work of works) {
      settles.push(await runInSavepoint(tx, work))
      if (now() - began > togetherMsMax) break
    }
    return settles
  })
  try {
    // What was written to a file that is no longer there must not be acknowledged.
    files.checkCommitted()
    return settles
  } catch (error) {
    return works.slice(0, settles.length).map(({ reject }) => () => { reject(toStoreFailure(error)) })
  }
}

/**
 * Commits together what is asked for in one turn of the event loop: a commit waits for the disk, however small it is.
 * Between two commits the event loop turns. `waiting` is the number of works that wait for their commit.
 */
export const createTransact = (needs: TransactNeeds): Transact & { waiting: () => number } => {
  const { now } = needs
  let waiting: Waiting[] = []
  let isAtWork = false
  let pauseMs = busyPauseMsMin

  const dropOverdue = (error: unknown) => {
    const at = now()
    const overdue = waiting.filter(({ deadline }) => at >= deadline)
    waiting = waiting.filter(({ deadline }) => at < deadline)
    for (const { reject } of overdue) reject(toStoreFailure(error))
  }
  // A work that makes SQLite roll back the transaction must not take others with it: each runs again by itself.
  let byThemselves = 0
  const settleFailed = async (works: Waiting[], error: unknown) => {
    const [only] = works
    if (isBusy(error) || works.length > 1) waiting.unshift(...works)
    if (isBusy(error)) {
      dropOverdue(error)
      await delay(pauseMs)
      pauseMs = Math.min(busyPauseMsMax, 2 * pauseMs)
    } else if (works.length > 1) {
      byThemselves = works.length
    } else {
      only?.reject(toStoreFailure(error))
    }
  }
  const commitWaiting = async () => {
    while (waiting.length > 0) {
      const works = waiting.splice(0, byThemselves > 0 ? 1 : togetherMax)
      byThemselves = Math.max(0, byThemselves - 1)
      try {
        const settles = await commitTogether(needs, works)
        waiting.unshift(...works.slice(settles.length))
        for (const settle of settles) settle()
        pauseMs = busyPauseMsMin
      } catch (error) {
        await settleFailed(works, error)
      }
      await nextTurn()
    }
    isAtWork = false
  }
  const transact: Transact = work => new Promise((resolve, reject) => {
    waiting.push({ work, deadline: now() + busyWaitMs, resolve, reject })
    if (isAtWork) return
    isAtWork = true
    setImmediate(() => { void commitWaiting() })
  })
  return Object.assign(transact, { waiting: () => waiting.length })
}
