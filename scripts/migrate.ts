import { Command } from 'commander'
import { loadConfig } from '../src/config/config.ts'
import { OperatorError } from '../src/errors.ts'
import { databaseNameOf, sqlitePathOf } from '../src/store/open/database-url.ts'
import { openDatabase } from '../src/store/sqlite/database.ts'
import { migrate } from '../src/store/sqlite/migrations/migrate.ts'
import { type MoveArguments, move } from './move.ts'
import { withStore } from './with-store.ts'

/*
 * Migrates the schema of the configured database to this release. The service does the same when it starts; this script
 * is for engines that write to the database before the service has run for the first time. With --from and --to it moves
 * the service to another database.
 */

const options = new Command('migrate')
  .description('Migrate the schema of the database, or move the service to another database.')
  .option('--from <url>', 'the database to be moved: sqlite:PATH')
  .option('--to <url>', 'the empty database that it is moved to: postgres://…; default: DATABASE_URL')
  .allowExcessArguments(false)
  .parse().opts<Partial<MoveArguments>>()

const migrateSqlite = async (databasePath: string): Promise<string[]> => {
  const database = openDatabase(databasePath)
  const applied = await migrate(database.writer)
  await database.close()
  return applied
}

// Opening a Postgres migrates it; its table kysely_migration has what was applied.
const migratePostgres = (databaseUrl: string): Promise<string[]> => withStore(databaseUrl, () => Promise.resolve([]))

const migrateConfigured = async (): Promise<void> => {
  const { databaseUrl } = loadConfig()
  const path = sqlitePathOf(databaseUrl)
  const applied = await (path === null ? migratePostgres(databaseUrl) : migrateSqlite(path))
  const outcome = applied.length === 0 ? 'up to date' : `applied ${applied.join(', ')}`
  process.stdout.write(`${databaseNameOf(databaseUrl)}: ${outcome}\n`)
}

try {
  const { from, to } = options
  if (from === undefined && to === undefined) await migrateConfigured()
  else await move({ from, to: to ?? (process.env.DATABASE_URL || undefined) })
} catch (error) {
  process.stderr.write(`${error instanceof OperatorError ? error.message : String(error)}\n`)
  process.exitCode = 1
}
