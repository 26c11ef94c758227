import { setTimeout as delay } from 'node:timers/promises'
import { type Kysely, sql } from 'kysely'
import { type Migration, Migrator } from 'kysely/migration'
import { toDatabaseUnusable, isBusy } from '../database.ts'
import * as jobExecutionLog from './0001-job-execution-log.ts'
import * as lifeOfAJob from './0002-life-of-a-job.ts'
import * as cacheEpoch from './0003-cache-epoch.ts'
import * as seq from './0004-seq.ts'
import type { RecordColumn } from './record-columns.ts'
import { rehearse } from './dry-run.ts'
import { surveyDatabase } from './inspect.ts'

// Migrations only add, so that the previous release reads and writes the new schema.
const migrations: Record<string, Migration & { recordColumns: readonly RecordColumn[] }> = {
  '0001-job-execution-log': jobExecutionLog,
  '0002-life-of-a-job': lifeOfAJob,
  '0003-cache-epoch': cacheEpoch,
  '0004-seq': seq
}

// How often it is tried while another program's transaction is in the way.
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

// SQLite tries every CHECK on every row again for each column that is added, which is most of what a migration takes.
// No row can break those of the new columns, and one that broke an old one would keep the service from ever starting.
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
  (await sql<{ file: string }>`SELECT file FROM pragma_database_list WHERE name = 'main'`.execute(db)).rows[0]?.file ?? ''

const refuseUnusable = async <Tables>(db: Kysely<Tables>): Promise<void> => {
  const path = await untilFree(() => findPath(db))
  const needs = Object.entries(migrations).map(([name, { recordColumns }]) => ({ name, recordColumns }))
  try {
    const survey = await untilFree(async () => surveyDatabase(path, needs))
    if (survey.pending.length > 0 && survey.objects.length > 0) await rehearse(survey, applyPending)
  } catch (error) {
    throw toDatabaseUnusable(path, error)
  }
}

/**
 * Brings the schema up to this release, whole or not at all. Returns the names of what was applied.
 *
 * Throws DatabaseUnusable, with the file untouched, where a newer version made it or where what another program has put
 * there cannot stay as it is.
 */
export const migrate = async <Tables>(db: Kysely<Tables>): Promise<string[]> => {
  await refuseUnusable(db)
  return await untilFree(async () => {
    // It stays with the file, so only one that is ours is switched. Refused at once while another program is at work.
    await sql`PRAGMA journal_mode = WAL`.execute(db)
    return await applyPending(db)
  })
}
