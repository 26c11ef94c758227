import { ConfigError, loadConfig } from '../src/config.ts'
import { DatabaseUnusable, openDatabase } from '../src/store/sqlite/database.ts'
import { migrate } from '../src/store/sqlite/migrations/migrate.ts'

/*
 * Brings the schema of the configured database up to this release. The service does so at its start too; this is for
 * engines that want to write before the service has ever run.
 */

try {
  const { databasePath } = loadConfig()
  const database = openDatabase(databasePath)
  const applied = await migrate(database.writer)
  await database.close()
  process.stdout.write(`${databasePath}: ${applied.length === 0 ? 'up to date' : `applied ${applied.join(', ')}`}\n`)
} catch (error) {
  const isForTheOperator = error instanceof ConfigError || error instanceof DatabaseUnusable
  process.stderr.write(`${isForTheOperator ? error.message : String(error)}\n`)
  process.exitCode = 1
}
