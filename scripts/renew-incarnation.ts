import { loadConfig } from '../src/config/config.ts'
import { OperatorError } from '../src/errors.ts'
import { databaseNameOf, sqlitePathOf } from '../src/store/open/database-url.ts'
import { renewDatabase as renewPostgres } from '../src/store/postgres/identity/renew.ts'
import { renewDatabase as renewSqlite } from '../src/store/sqlite/restore.ts'

/*
 * Renews the incarnation of the configured database, after an older state of it was put back in a way that the service
 * cannot recognize: a snapshot of its volume, or a copy of its file.
 */

try {
  const { databaseUrl } = loadConfig()
  const path = sqlitePathOf(databaseUrl)
  await (path === null ? renewPostgres(databaseUrl, () => performance.now()) : renewSqlite(path))
  process.stdout.write(`${databaseNameOf(databaseUrl)}: has a new incarnation; nothing of before is taken for what is there now\n`)
} catch (error) {
  process.stderr.write(`${error instanceof OperatorError ? error.message : String(error)}\n`)
  process.exitCode = 1
}
