import { Command } from 'commander'
import { loadConfig } from '../src/config/config.ts'
import { OperatorError } from '../src/errors.ts'
import { requireSqlite } from '../src/store/open/database-url.ts'
import { writeBackup } from '../src/store/sqlite/backup.ts'

/*
 * Writes a backup of the configured database and checks it. A service may use the database at the same time.
 */

const [path = ''] = new Command('backup')
  .description('Write a backup of the database to a file that does not exist yet.')
  .argument('<file>')
  .parse().args

try {
  const databasePath = requireSqlite(loadConfig().databaseUrl, 'pg_dump and pg_basebackup write backups of Postgres')
  const { records, version, sizeBytes } = await writeBackup(databasePath, path)
  process.stdout.write(
    `${path}: backup of ${databasePath}, ${records} records up to version ${version}, ${sizeBytes} bytes, checked\n`
  )
} catch (error) {
  process.stderr.write(`${error instanceof OperatorError ? error.message : String(error)}\n`)
  process.exitCode = 1
}
