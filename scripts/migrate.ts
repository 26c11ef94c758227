import { loadConfig } from '../src/config/config.ts'
import { OperatorError } from '../src/errors.ts'
import { requireSqlite } from '../src/store/database-url.ts'
import { openDatabase } from '../src/store/sqlite/database.ts'
import { migrate } from '../src/store/sqlite/migrations/migrate.ts'

/*
 * Migrates the schema of the configured database to this release. The service does the same when it starts; this script
 * is for engines that write to the database before the service has run for the first time.
 */

try {
  const { databaseUrl } = loadConfig()
  const databasePath = requireSqlite(databaseUrl, 'postgres:// is not supported by this version yet')
  const database = openDatabase(databasePath)
  const applied = await migrate(database.writer)
  await database.close()
  process.stdout.write(`${databasePath}: ${applied.length === 0 ? 'up to date' : `applied ${applied.join(', ')}`}\n`)
} catch (error) {
  process.stderr.write(`${error instanceof OperatorError ? error.message : String(error)}\n`)
  process.exitCode = 1
}
