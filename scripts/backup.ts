import { Command } from 'commander'
import { ConfigError, loadConfig } from '../src/config.ts'
import { BackupRefused, writeBackup } from '../src/store/sqlite/backup.ts'
import { DatabaseUnusable } from '../src/store/errors.ts'

/*
 * Writes a backup of the configured database and checks it. A service may use the database at the same time.
 */

const [path = ''] = new Command('backup')
  .description('Write a backup of the database to a file that does not exist yet.')
  .argument('<file>')
  .parse().args

try {
  const { databasePath } = loadConfig()
  const { records, version, sizeBytes } = await writeBackup(databasePath, path)
  process.stdout.write(
    `${path}: backup of ${databasePath}, ${records} records up to version ${version}, ${sizeBytes} bytes, checked\n`
  )
} catch (error) {
  const isForTheOperator = [ConfigError, BackupRefused, DatabaseUnusable].some(kind => error instanceof kind)
  process.stderr.write(`${isForTheOperator ? (error as Error).message : String(error)}\n`)
  process.exitCode = 1
}
