import { setTimeout as delay } from 'node:timers/promises'
import { type Kysely, sql } from 'kysely'
import { type Migration, Migrator } from 'kysely/migration'
import { toDatabaseUnusable, isBusy } from '../database.ts'
import * as jobExecutionLog from './0001-job-execution-log.ts'
import * as lifeOfAJob from './0002-life-of-a-job.ts'
import * as cacheEpoch from './0003-cache-epoch.ts'
import * as seq from './0004-seq.ts'
import * as attempts from './0005-attempts.ts'
import * as times from './0006-times.ts'
import * as jobIds from './0007-job-ids.ts'
import * as changeReaders from './0008-change-readers.ts'
import * as callbacks from './0009-callbacks.ts'
import * as callbackQueues from './0010-callback-queues.ts'
import type { RecordColumn } from './record-columns.ts'
import { dryRun } from './dry-run.ts'
import { inspectDatabase } from './inspect.ts'

// Migrations only add, so that the previous release can read and write the new schema.
const migrations: Record<string, Migration & { recordColumns: readonly RecordColumn[] }> = {
  '0001-job-execution-log': jobExecutionLog,
  '0002-life-of-a-job': lifeOfAJob,
  '0003-cache-epoch': cacheEpoch,
  '0004-seq': seq,
  '0005-attempts': attempts,
  '0006-times': times,
  '0007-job-ids': jobIds,
  '0008-change-readers': changeReaders,
  '0009-callbacks': callbacks,
  '0010-callback-queues': callbackQueues
}

// How often a migration is tried while another program has the database locked.
const busyTrialsMax = 120
const busyPauseMs = 50

const untilFree = async <Value>(work: () => Promise<Value>): Promise<Value> => {
  for (let trial = 1; ; trial += 1) {
    try {
      return await work()
    } catch (error) {
      if (!isBusy(error) || trial === busyTrialsMax) throw error
      await delay(busyPauseMs)
    }
  }
}

// For each added column, SQLite checks every CHECK on every row again, which is most of a migration's time. No row can
// break those of the new columns, and a row that breaks an old one must not keep the service from starting.
const withoutChecks = async <Tables, Value>(db: Kysely<Tables>, work: () => Promise<Value>): Promise<Value> => {
  await sql`PRAGMA ignore_check_constraints = ON`.execute(db)
  try {
    return await work()
  } finally {
    await sql`PRAGMA ignore_check_constraints = OFF`.execute(db)
  }
}

// One transaction for all, the migrator's own tables included.
const applyPending = <Tables>(db: Kysely<Tables>): Promise<string[]> =>
  withoutChecks(db, () => db.transaction().execute(async tx => {
    const migrator = new Migrator({ db: tx, provider: { getMigrations: () => Promise.resolve(migrations) } })
    const { error, results } = await migrator.migrateToLatest()
    if (error !== undefined) throw error instanceof Error ? error : new Error('the migration failed', { cause: error })
    return (results ?? []).map(result => result.migrationName)
  }))

const findPath = async <Tables>(db: Kysely<Tables>): Promise<string> =>
  (await sql<{ file: string }>`SELECT file FROM pragma_database_list WHERE name = 'main'`.execute(db)).rows[0]?.file ??
    ''

const needsOfMigrations = () => Object.entries(migrations).map(([name, { recordColumns }]) => ({ name, recordColumns }))

/** The migrations that a database file lacks. Throws if it is none of this service, or of a newer release. */
export const findPending = (path: string): string[] => inspectDatabase(path, needsOfMigrations()).pending

const requireUsable = async <Tables>(db: Kysely<Tables>): Promise<void> => {
  const path = await untilFree(() => findPath(db))
  try {
    const inspection = await untilFree(async () => inspectDatabase(path, needsOfMigrations()))
    if (inspection.pending.length > 0 && inspection.objects.length > 0) await dryRun(inspection, applyPending)
  } catch (error) {
    throw toDatabaseUnusable(path, error)
  }
}

/**
 * Migrates the schema to this release, as a whole or not at all. Returns the names of the applied migrations. Throws
 * DatabaseUnusable, with the file unchanged, if a newer release made it or if another program's objects are in the
 * way.
 */
export const migrate = async <Tables>(db: Kysely<Tables>): Promise<string[]> => {
  await requireUsable(db)
  return await untilFree(async () => {
    // The mode stays with the file, so it is switched only after the checks. Fails at once while the database is
    // locked.
    await sql`PRAGMA journal_mode = WAL`.execute(db)
    return await applyPending(db)
  })
}
