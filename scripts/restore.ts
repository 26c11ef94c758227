import { Command } from 'commander'
import { loadConfig } from '../src/config/config.ts'
import { OperatorError } from '../src/errors.ts'
import { requireSqlite } from '../src/store/open/database-url.ts'
import { restoreBackup } from '../src/store/sqlite/restore.ts'

/*
 * Replaces the configured database by a backup. No program may have the database open. The old file is renamed,
 * not deleted.
 */

const [path = ''] = new Command('restore')
  .description('Replace the database by a backup. The old database is renamed and kept.')
  .argument('<file>')
  .parse().args

try {
  const databasePath = requireSqlite(loadConfig().databaseUrl, 'pg_restore restores backups of Postgres')
  const { records, version, keptAs } = await restoreBackup(path, databasePath, Date.now())
  const kept = keptAs === null ? 'there was no database before' : `the previous database is kept as ${keptAs}`
  process.stdout.write(`${databasePath}: restored from ${path}, ${records} records up to version ${version}; ${kept}\n`)
} catch (error) {
  process.stderr.write(`${error instanceof OperatorError ? error.message : String(error)}\n`)
  process.exitCode = 1
}
