import { setTimeout as delay } from 'node:timers/promises'
import { sql } from 'kysely'
import { type Database, openDatabase } from './database.ts'
import { ConnectionLost, DatabaseReplaced, isStarting } from './failures.ts'
import { explainRefusal, requireFitServer } from './fitness.ts'
import { identity } from './identity/identity.ts'
import { migrate } from './migrations/migrate.ts'

/**
 * A migrated database. `incarnation`: of its versions; `identity`: of its history. `isRenewed`: the incarnation began now,
 * because the database is not the one of the last start.
 */
export type OpenedDatabase = { database: Database, incarnation: string, identity: string, isRenewed: boolean }

// Containers start together, and so the server may start after the service.
const connectPatienceMs = 10_000
const connectPauseMs = 250

const untilReachable = async (database: Database, monotonicNow: () => number): Promise<void> => {
  const deadline = monotonicNow() + connectPatienceMs
  for (;;) {
    try {
      const client = await database.pools.reads.connect()
      return client.release()
    } catch (error) {
      const mayPass = error instanceof ConnectionLost || isStarting(error)
      if (!mayPass || monotonicNow() >= deadline) throw error
    }
    await delay(connectPauseMs)
  }
}

/**
 * Opens the database for a service process and migrates it to this release. Throws ServerUnusable, ConnectionLost, and
 * what Postgres throws. `monotonicNow` in ms of a clock that only goes forward.
 */
export const openForProcess = async (url: string, monotonicNow: () => number): Promise<OpenedDatabase> => {
  const database = openDatabase(url)
  try {
    await untilReachable(database, monotonicNow)
    await requireFitServer(database)
    const isRenewed = await migrate(database.bulk)
    const { rows: [state] } = await sql<{ incarnation: string, identity: string, migrated: string }>`
      SELECT value AS incarnation, ${identity} AS identity,
        (SELECT value FROM ServiceState WHERE name = 'identity') AS migrated
      FROM ServiceState WHERE name = 'incarnation'`.execute(database.reads)
    if (state === undefined) throw new Error('ServiceState has no incarnation')
    const { migrated, ...opened } = state
    // A failover since the migration: the incarnation is that of the history before.
    if (opened.identity !== migrated) throw new DatabaseReplaced(migrated, opened.identity)
    return { database, ...opened, isRenewed }
  } catch (error) {
    await database.close()
    throw explainRefusal(error)
  }
}
