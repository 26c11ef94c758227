import { Command } from 'commander'
import { ConfigError, loadConfig } from '../src/config.ts'
import { BackupRefused } from '../src/store/sqlite/backup.ts'
import { restoreBackup } from '../src/store/sqlite/restore.ts'

/*
 * Puts a backup in the place of the configured database. No program may have that open; it is kept under another name.
 */

const [path = ''] = new Command('restore')
  .description('Put a backup in the place of the database, which is kept under another name.')
  .argument('<file>')
  .parse().args

try {
  const { databasePath } = loadConfig()
  const { records, version, keptAs } = await restoreBackup(path, databasePath, Date.now())
  const kept = keptAs === null ? 'there was no database before' : `the database before it is kept as ${keptAs}`
  process.stdout.write(`${databasePath}: restored from ${path}, ${records} records up to version ${version}; ${kept}\n`)
} catch (error) {
  const isForTheOperator = error instanceof ConfigError || error instanceof BackupRefused
  process.stderr.write(`${isForTheOperator ? error.message : String(error)}\n`)
  process.exitCode = 1
}
