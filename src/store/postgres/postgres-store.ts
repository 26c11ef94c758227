import { databaseNameOf } from '../open/database-url.ts'
import { createEpochRowStore } from '../epoch-row-store.ts'
import { DatabaseUnusable } from '../errors.ts'
import type { OpenedStore, Store } from '../store.ts'
import { announcing, createAnnouncements } from './announcements.ts'
import { createChangeLog } from './change-log.ts'
import { mayPass } from './failures.ts'
import { explainMissing } from './identity/identity.ts'
import { explainRenewal } from './identity/incarnation.ts'
import { type OpenedDatabase, openForProcess } from './open.ts'
import { createCallbackReader } from './readers/callback-reader.ts'
import { createReadEpochRows } from './readers/epoch-rows.ts'
import { createInputReader } from './readers/input-reader.ts'
import { createListJobs } from './readers/job-list.ts'
import { createJobReader } from './readers/job-reader.ts'
import { createQueueReader } from './readers/queue-reader.ts'
import { createResultReader } from './readers/result-reader.ts'
import { createRetentionReader } from './readers/retention-reader.ts'
import { createServerClock } from './server-clock.ts'
import { createTransact } from './transact.ts'

/**
 * `now` in ms since 1970; `monotonicNow` in ms of a clock that only goes forward; `random` from 0 to below 1.
 * `onReplaced` as for openStore.
 */
export type PostgresStoreNeeds = OpenedDatabase & {
  now: () => number, monotonicNow: () => number, random: () => number, onReplaced: () => void
}

/** The store on a migrated Postgres database. `close` closes its connections. */
export const createPostgresStore = (
  { database, incarnation, identity, now: ownNow, monotonicNow, random, onReplaced }: PostgresStoreNeeds
): Store => {
  const { pools, reads } = database
  const { announce, onAnnounced, close: stopAnnouncing } = createAnnouncements({ reads, connect: pools.listen.connect })
  const transact = createTransact({ writer: database.writer, now: monotonicNow, random })
  const { now, observe } = createServerClock(ownNow)
  const readEpochRows = createReadEpochRows({ database, incarnation, observe, ownNow, monotonicNow })
  database.pin(identity, onReplaced)
  return {
    kind: 'postgres',
    incarnation,
    now,
    jobs: { ...createJobReader({ database }), list: createListJobs({ database }) },
    results: createResultReader({ database }),
    inputs: createInputReader({ database }),
    queue: createQueueReader({ database }),
    retention: createRetentionReader({ database }),
    callbacks: createCallbackReader({ database }),
    changes: createChangeLog({ reads, incarnation, onAnnounced }),
    epoch: createEpochRowStore({ read: readEpochRows, transact, now }),
    transact: announcing(transact, announce),
    writesWaiting: transact.waiting,
    close: async () => {
      await stopAnnouncing()
      await database.close()
    }
  }
}

export type OpenPostgresStoreNeeds = Omit<PostgresStoreNeeds, keyof OpenedDatabase> & { databaseUrl: string }

const reasonOf = (error: unknown): string => error instanceof Error && error.message !== '' ? error.message : String(error)

/**
 * Opens the store of a service process. Throws DatabaseUnusable. It reports no stale owners: the end of a session with
 * the server does not prove that its process has ended.
 */
export const openPostgresStore = async ({ databaseUrl, ...needs }: OpenPostgresStoreNeeds): Promise<OpenedStore> => {
  const opened = await openForProcess(databaseUrl, needs.monotonicNow).catch((error: unknown) => {
    throw new DatabaseUnusable(databaseNameOf(databaseUrl), reasonOf(error), { cause: error, mayPass: mayPass(error) })
  })
  const store = createPostgresStore({ ...opened, ...needs })
  // The server's clock is known before anything is written. If this read fails, the next one gets it.
  await store.epoch.read().catch(() => {})
  return {
    store,
    stale: { nodes: [], holders: [] },
    isAlone: false,
    warnings: [...opened.isRenewed ? [explainRenewal] : [], ...explainMissing(opened.identity)]
  }
}
