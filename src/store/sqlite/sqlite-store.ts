import { DatabaseUnusable } from '../errors.ts'
import type { OpenedStore, Store } from '../store.ts'
import { createEpochRowStore } from '../epoch-row-store.ts'
import { createChangeLog } from './change-log.ts'
import { type Database, findSqliteError, toDatabaseUnusable } from './database.ts'
import { createCallbackReader } from './readers/callback-reader.ts'
import { createReadEpochRows } from './readers/epoch-rows.ts'
import { createInputReader } from './readers/input-reader.ts'
import { createListJobs } from './readers/job-list.ts'
import { createJobReader } from './readers/job-reader.ts'
import { openForProcess } from './open.ts'
import { createQueueReader } from './readers/queue-reader.ts'
import { createResultReader } from './readers/result-reader.ts'
import { createRetentionReader } from './readers/retention-reader.ts'
import { createTransact } from './transact.ts'

/** `now` in ms since 1970; `monotonicNow` in ms of a clock that only goes forward. */
export type SqliteStoreNeeds = { database: Database, now: () => number, monotonicNow: () => number }

const readIncarnation = ({ path, reader }: Database): string => {
  const incarnation =
    reader.prepare<[], string>("SELECT value FROM ServiceState WHERE name = 'incarnation'").pluck().get()
  if (incarnation === undefined) throw new DatabaseUnusable(path, 'ServiceState has no incarnation')
  return incarnation
}

/**
 * The store on a migrated SQLite database. `close` closes its connections. Throws DatabaseUnusable, and what SQLite
 * throws.
 */
export const createSqliteStore = ({ database, now, monotonicNow }: SqliteStoreNeeds): Store => {
  const transact = createTransact({ database, now: monotonicNow })
  const incarnation = readIncarnation(database)
  database.files.begin()
  return {
    kind: 'sqlite',
    incarnation,
    now,
    jobs: { ...createJobReader({ database }), list: createListJobs({ database }) },
    results: createResultReader({ database }),
    inputs: createInputReader({ database }),
    queue: createQueueReader({ database }),
    retention: createRetentionReader({ database }),
    callbacks: createCallbackReader({ database }),
    changes: createChangeLog({ database, incarnation }),
    epoch: createEpochRowStore({ read: createReadEpochRows(database), transact, now }),
    transact,
    writesWaiting: transact.waiting,
    close: database.close
  }
}

export type OpenSqliteStoreNeeds = Omit<SqliteStoreNeeds, 'database'> & { databasePath: string, isCacheShared: boolean }

const open = async ({ databasePath, isCacheShared, now, monotonicNow }: OpenSqliteStoreNeeds): Promise<OpenedStore> => {
  const { database, releaseLock, stale } = await openForProcess(databasePath, isCacheShared)
  const close = async () => {
    await database.close()
    releaseLock()
  }
  try {
    const store = { ...createSqliteStore({ database, now, monotonicNow }), close }
    return { store, stale, isAlone: !isCacheShared, warnings: [] }
  } catch (error) {
    await close()
    throw error
  }
}

/** Opens the store of a service process. Throws DatabaseUnusable and DatabaseInUse. */
export const openSqliteStore = async (needs: OpenSqliteStoreNeeds): Promise<OpenedStore> =>
  await open(needs).catch((error: unknown) => {
    const cause = error instanceof DatabaseUnusable ? undefined : findSqliteError(error)
    throw cause === undefined ? error : toDatabaseUnusable(needs.databasePath, cause)
  })
