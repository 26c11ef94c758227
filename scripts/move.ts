import { findLocalKeys } from '../src/config/local-keys.ts'
import { parseDatabaseUrl } from '../src/config/urls.ts'
import { OperatorError } from '../src/errors.ts'
import { databaseNameOf, sqlitePathOf } from '../src/store/database-url.ts'
import { type MovedRows, moveDatabase } from '../src/store/move/move-database.ts'
import { openMoveTarget } from '../src/store/postgres/move/target.ts'
import { openMoveSource } from '../src/store/sqlite/move/source.ts'

/* Moves the service from an SQLite file to a Postgres; docs/postgres.md has the steps. */

/** Where from and where to, as the command names it; undefined: it does not. */
export type MoveArguments = { from: string | undefined, to: string | undefined }

const toSourcePath = (from: string | undefined): string => {
  if (from === undefined) throw new OperatorError('--from: is missing: it must be sqlite:PATH, the database to be moved')
  const problems: string[] = []
  const path = from.startsWith('sqlite:') ? sqlitePathOf(parseDatabaseUrl(from, problems) ?? '') : null
  const [problem] = problems
  if (problem !== undefined) throw new OperatorError(problem.replace('DATABASE_URL', '--from'))
  if (path === null) throw new OperatorError('--from: must be sqlite:PATH, the database to be moved')
  return path
}

const toTargetUrl = (to: string | undefined): string => {
  if (to !== undefined && /^postgres(ql)?:\/\//.test(to)) return to
  throw new OperatorError(`--to: ${to === undefined ? 'is missing, and so is DATABASE_URL: it' : ''} must be a URL that begins with postgres://`
    .replace(/ +/g, ' '))
}

const report = ({ table, rows, bytes, sha256 }: MovedRows): void => {
  process.stdout.write(`${table}: ${rows} rows, ${bytes} bytes, sha256 ${sha256}\n`)
}

const monotonicNow = () => performance.now()

/** Moves everything, or nothing, and reports it. Throws OperatorError. */
export const move = async ({ from, to }: MoveArguments): Promise<void> => {
  const [path, url] = [toSourcePath(from), toTargetUrl(to)]
  const keys = findLocalKeys()
  const source = openMoveSource(path)
  try {
    const target = await openMoveTarget({ url, now: () => Date.now(), monotonicNow })
    try {
      const began = monotonicNow()
      const moved = await moveDatabase({ source, target, keys, onTable: report })
      const [name, seconds] = [databaseNameOf(url), ((monotonicNow() - began) / 1000).toFixed(1)]
      const { foreignColumns } = source
      if (foreignColumns.length > 0) {
        process.stdout.write(`not moved: the columns ${foreignColumns.join(', ')} of JobExecutionLog, which are none of the service\n`)
      }
      const kept = keys.length === 0 ? '' : `, with the keys ${keys.map(({ name }) => name).join(' and ')}`
      process.stdout.write(moved === null
        ? `${name}: ${path} was moved here before: nothing was done\n`
        : `${name}: moved ${path} in ${seconds} s${kept}; each table was read back and compared\n`)
    } finally {
      await target.close()
    }
  } finally {
    source.close()
  }
}
