import { setTimeout as delay } from 'node:timers/promises'
import type { Kysely } from 'kysely'
import { type Migration, Migrator } from 'kysely/migration'
import { isBusy } from '../database.ts'
import * as jobExecutionLog from './0001-job-execution-log.ts'

// Migrations only add, so that the previous release reads and writes the new schema.
const migrations: Record<string, Migration> = {
  '0001-job-execution-log': jobExecutionLog
}

// How often it is tried while another program's transaction is in the way.
const busyTrialsMax = 120
const busyPauseMs = 50

/** Brings the schema up to this release, each run whole or not at all. Returns the names of what was applied. */
export const migrate = async <Tables>(db: Kysely<Tables>): Promise<string[]> => {
  const migrator = new Migrator({
    db,
    provider: { getMigrations: () => Promise.resolve(migrations) }
  })
  for (let trial = 1; ; trial += 1) {
    const { error, results } = await migrator.migrateToLatest()
    if (error === undefined) return (results ?? []).map(result => result.migrationName)
    if (!isBusy(error) || trial === busyTrialsMax) {
      throw error instanceof Error ? error : new Error('the migration failed', { cause: error })
    }
    await delay(busyPauseMs)
  }
}
