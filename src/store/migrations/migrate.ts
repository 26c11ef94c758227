import type { Kysely } from 'kysely'
import { type Migration, Migrator } from 'kysely/migration'
import * as jobExecutionLog from './0001-job-execution-log.ts'

// Migrations only add, so that the previous release reads and writes the new schema.
const migrations: Record<string, Migration> = {
  '0001-job-execution-log': jobExecutionLog
}

/** Brings the schema up to this release, each run whole or not at all. Returns the names of what was applied. */
export const migrate = async <Tables>(db: Kysely<Tables>): Promise<string[]> => {
  const migrator = new Migrator({
    db,
    provider: { getMigrations: () => Promise.resolve(migrations) }
  })
  const { error, results } = await migrator.migrateToLatest()
  if (error instanceof Error) throw error
  if (error !== undefined) throw new Error('the migration failed', { cause: error })
  return (results ?? []).map(result => result.migrationName)
}
