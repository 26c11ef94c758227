import { type CompiledQuery, type Kysely, type QueryResult, sql } from 'kysely'
import { type KeptQuery, type SharedStatement, toParameter, toParameters } from '../../sql/dialect.ts'
import type { Tables } from '../../tables.ts'

/*
 * One statement in place of many that differ in their values alone. The values come as lists, one for each parameter,
 * which make a table `given` with a row for each call; its `number` says whose a row of the answer is. Server and client
 * take about as long for this as for a single statement.
 */

type Values = Readonly<Record<string, unknown>>

/** A statement for several calls at once. `toResults` gets the rows of its answer, and has a result for each call. */
export type ManyAtOnce = {
  toQuery: (calls: readonly Values[]) => CompiledQuery
  toResults: (rows: readonly Row[], count: number) => Array<QueryResult<unknown>>
}

type Row = Record<string, unknown>

const number = '"#"'

const toRowsOfCalls = (rows: readonly Row[], count: number): Row[][] => {
  const ofCalls = Array.from({ length: count }, (): Row[] => [])
  for (const { '#': number, ...row } of rows) ofCalls[Number(number) - 1]?.push(row)
  return ofCalls
}

const toReads: ManyAtOnce['toResults'] = (rows, count) => toRowsOfCalls(rows, count).map(rows => ({ rows }))

const toChanges: ManyAtOnce['toResults'] = (rows, count) =>
  toRowsOfCalls(rows, count).map(rows => ({ rows, numAffectedRows: BigInt(rows.length) }))

// An insertion either adds a row for each call or fails.
const toInsertions: ManyAtOnce['toResults'] = (_, count) =>
  Array.from({ length: count }, () => ({ rows: [], numAffectedRows: 1n }))

const replaceOnce = (text: string, pattern: RegExp, replacement: (...found: string[]) => string): string => {
  if (!pattern.test(text)) throw new Error(`this statement cannot be run for many at once: ${text}`)
  return text.replace(pattern, replacement)
}

/*
 * `text` names the values as columns of `given`; `ids` is the list of the jobs. A plan that was made while a table was
 * empty may join it in either order, so neither may read all of it: OFFSET keeps a read from being joined otherwise than
 * for each row of `given`, and a change names its rows twice. A statement with parts has a first one of the values, called
 * `asked`, and a last one called `changed`, of which it returns the rows.
 */
const toText = (text: string, given: string, ids: string): [text: string, toResults: ManyAtOnce['toResults']] => {
  const returning = `${/ returning /.test(text) ? ',' : ' RETURNING'} given.number::int AS ${number}`
  const where = `WHERE jobId = ANY(${ids}) AND`
  switch (/^\s*(\w+)/.exec(text)?.[1]?.toLowerCase()) {
    case 'with': {
      const asked = replaceOnce(text, /^(\s*with asked as \(select [^()]*)\)/i, (_, begin) =>
        `${begin}, given.number::int AS ${number} FROM ${given})`)
      const end = `, asked.${number} FROM changed JOIN asked ON asked.jobId = changed.jobId`
      return [replaceOnce(asked, / from changed\s*$/i, () => end), toReads]
    }
    case 'insert':
      return [replaceOnce(text, / values \((.*)\)$/s, (_, values) => ` SELECT ${values} FROM ${given}`), toInsertions]
    case 'update':
      return [`${replaceOnce(text, / where /, () => ` FROM ${given} ${where} `)}${returning}`, toChanges]
    case 'delete':
      return [`${replaceOnce(text, / where /, () => ` USING ${given} ${where} `)}${returning}`, toChanges]
    default:
      return [`SELECT given.number::int AS ${number}, found.* FROM ${given}
        CROSS JOIN LATERAL (SELECT * FROM (${text}) AS found OFFSET 0) AS found`, toReads]
  }
}

type OfEach = Extract<SharedStatement, { kind: 'each' | 'lock' }>

const forEach = (db: Kysely<Tables>, { kind, types, compile }: OfEach): ManyAtOnce => {
  const names = new Set<string>()
  const compiled = compile(db, name => {
    names.add(name)
    return sql.ref(`given.p_${name}`)
  })
  const all = [...names]
  const lists = all.map((name, index) => `$${compiled.parameters.length + index + 1}::${types[name] ?? 'text'}[]`)
  const ids = lists[all.indexOf('jobId')]
  if (ids === undefined) throw new Error(`this statement cannot be run for many at once: ${compiled.sql}`)
  const columns = all.map(name => `p_${name.toLowerCase()}`)
  const given = `unnest(${lists.join(', ')}) WITH ORDINALITY AS given (${columns.join(', ')}, number)`
  // A group waits for no lock: another transaction may wait for those that it has already.
  const [text, toResults] = toText(kind === 'lock' ? `${compiled.sql} SKIP LOCKED` : compiled.sql, given, ids)
  return {
    toQuery: calls => ({
      ...compiled, sql: text, parameters: [...compiled.parameters, ...all.map(name => calls.map(values => values[name]))]
    }),
    toResults
  }
}

const forDealing = (db: Kysely<Tables>, { compile }: SharedStatement): ManyAtOnce => {
  const compiled = compile(db, toParameter)
  return {
    toQuery: calls => ({ ...compiled, parameters: toParameters(compiled, { ...calls[0], count: calls.length }) }),
    toResults: (rows, count) => Array.from({ length: count }, (_, index) => ({ rows: rows.slice(index, index + 1) }))
  }
}

const made = new WeakMap<SharedStatement, ManyAtOnce>()

/** The statement that answers several calls of a shared one. `db`: any of Postgres, to compile it with. */
export const toManyAtOnce = (db: Kysely<Tables>, shared: SharedStatement): ManyAtOnce => {
  const known = made.get(shared) ?? (shared.kind === 'deal' ? forDealing(db, shared) : forEach(db, shared))
  made.set(shared, known)
  return known
}

/** The values of a call of a shared statement. */
export const valuesOf = ({ values }: KeptQuery): Values => values as Values
