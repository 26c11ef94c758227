import { findLocalKeys } from '../src/config/local-keys.ts'
import { parseDatabaseUrl } from '../src/config/urls.ts'
import { OperatorError } from '../src/errors.ts'
import { databaseNameOf, sqlitePathOf } from '../src/store/open/database-url.ts'
import { type MovedRows, moveDatabase, type MoveSource, type MoveTarget } from '../src/store/move/move-database.ts'
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

const targetRule = 'must be a URL that begins with postgres://'

const toTargetUrl = (to: string | undefined): string => {
  if (to === undefined) throw new OperatorError(`--to: is missing, and so is DATABASE_URL: it ${targetRule}`)
  if (!/^postgres(ql)?:\/\//.test(to)) throw new OperatorError(`--to: ${targetRule}`)
  return to
}

const say = (line: string): void => { process.stdout.write(`${line}\n`) }

const report = ({ table, rows, bytes, sha256 }: MovedRows): void => {
  say(`${table}: ${rows} rows, ${bytes} bytes, sha256 ${sha256}`)
}

const monotonicNow = () => performance.now()

type Ends = { source: MoveSource, path: string, url: string }

const moveInto = async (target: MoveTarget, { source, path, url }: Ends): Promise<void> => {
  const [keys, name, began] = [findLocalKeys(), databaseNameOf(url), monotonicNow()]
  const moved = await moveDatabase({ source, target, keys, onTable: report })
  if (moved === null) return say(`${name}: ${path} was moved here before: nothing was done`)
  const { foreignColumns } = source
  if (foreignColumns.length > 0) {
    say(`not moved: the columns ${foreignColumns.join(', ')} of JobExecutionLog, which are none of the service`)
  }
  const seconds = ((monotonicNow() - began) / 1000).toFixed(1)
  const withKeys = keys.length === 0 ? '' : `, with the keys ${keys.map(({ name }) => name).join(' and ')}`
  say(`${name}: moved ${path} in ${seconds} s${withKeys}; each table was read back and compared`)
}

/** Moves everything, or nothing, and reports it. Throws OperatorError. */
export const move = async ({ from, to }: MoveArguments): Promise<void> => {
  const [path, url] = [toSourcePath(from), toTargetUrl(to)]
  const source = openMoveSource(path)
  try {
    const target = await openMoveTarget({ url, monotonicNow })
    try {
      await moveInto(target, { source, path, url })
    } finally {
      await target.close()
    }
  } finally {
    source.close()
  }
}
