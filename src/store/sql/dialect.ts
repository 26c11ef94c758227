import { type CompiledQuery, type Kysely, PostgresAdapter, type QueryResult } from 'kysely'
import type { Tables } from '../tables.ts'

/**
 * Whether a statement is for Postgres. The statements of store/tx run on both databases, and differ only where Postgres
 * has several writers at once, or another word for the same.
 */
export const isPostgres = (db: Pick<Kysely<never>, 'getExecutor'>): boolean =>
  db.getExecutor().adapter instanceof PostgresAdapter

/** Stands for a value while a statement is built. */
class Parameter {
  readonly name: string

  constructor (name: string) {
    this.name = name
  }
}

const standIns = <Parameters extends object>(toStandIn: (name: string) => unknown): Readonly<Parameters> =>
  new Proxy({}, { get: (_, name) => toStandIn(String(name)) }) as Parameters

type Build<Parameters, Row> =
  (db: Kysely<Tables>, parameters: Readonly<Parameters>) => { compile: (db: Kysely<Tables>) => CompiledQuery<Row> }

/** The types of those values that are no text, where a statement gets lists of values. */
type ListTypes<Parameters> = Partial<Record<keyof Parameters & string, 'bigint' | 'double precision' | 'smallint' | 'bytea'>>

/**
 * How works of a group run a statement at once (see Transact). `each`: for each of them, with its own values. `lock`: so,
 * and it locks the row of each that is not locked elsewhere. `deal`: one row for each, of another statement, which gets
 * the values of the first of them and a `count`.
 */
export type AtOnce<Parameters, Row> =
  | { each: ListTypes<Parameters> }
  | { lock: ListTypes<Parameters> }
  | { deal: Build<Parameters & { count: number }, Row> }

/** A statement that works of a group can run at once. There is one object for all calls of a kept statement. */
export type SharedStatement =
  | { kind: 'each' | 'lock', types: ListTypes<Record<string, unknown>>, compile: CompileShared }
  | { kind: 'deal', compile: CompileShared }

/** Compiles it for Postgres, with what is to stand in the place of each value. */
type CompileShared = (db: Kysely<Tables>, toStandIn: (name: string) => unknown) => CompiledQuery

/** `values` are those of this call, by their names; `isLast` as for the call of a kept statement. */
export type KeptQuery<Row = unknown> =
  CompiledQuery<Row> & { shared?: SharedStatement, values?: object, isLast?: boolean }

/**
 * `isLast`: the work sends nothing after this statement, and whatever it answers, unless it fails, the work needs no
 * undoing. So the commit need not wait for the answer.
 */
export type CallOptions = { isLast?: boolean }

const toShared = <Parameters extends object, Row>(
  build: Build<Parameters, Row>, atOnce: AtOnce<Parameters, Row>
): SharedStatement => {
  const compileShared = (build: Build<never, Row>): CompileShared => (db, toStandIn) =>
    build(db, standIns(toStandIn) as never).compile(db)
  if ('deal' in atOnce) return { kind: 'deal', compile: compileShared(atOnce.deal) }
  const [kind, types] = 'lock' in atOnce ? ['lock' as const, atOnce.lock] : ['each' as const, atOnce.each]
  return { kind, types, compile: compileShared(build) }
}

/** The values in the places of the parameters. */
export const toParameters = (compiled: CompiledQuery, values: object): unknown[] => compiled.parameters.map(parameter =>
  parameter instanceof Parameter ? values[parameter.name as never] : parameter)

/** What stands for a value in `toParameters`. */
export const toParameter = (name: string): unknown => new Parameter(name)

/**
 * A statement that is built once for each kind of database, when it is first run: to build and compile a query takes
 * longer than to run it. `build` gets a stand-in for each parameter, which it may use as a value and nothing else: the
 * text of the statement is the same for all values. Without `atOnce` each work of a group runs it by itself.
 */
export const keepStatement = <Parameters extends object, Row = never>(
  build: Build<Parameters, Row>, atOnce?: AtOnce<Parameters, Row>
): ((db: Kysely<Tables>, values: Readonly<Parameters>, options?: CallOptions) => Promise<QueryResult<Row>>) => {
  const kept = new Map<boolean, KeptQuery<Row>>()
  const shared = atOnce === undefined ? {} : { shared: toShared(build, atOnce) }
  const keep = (db: Kysely<Tables>): KeptQuery<Row> => {
    const query = { ...build(db, standIns(toParameter)).compile(db), ...shared }
    kept.set(isPostgres(db), query)
    return query
  }
  return (db, values, options) => {
    const compiled = kept.get(isPostgres(db)) ?? keep(db)
    const query: KeptQuery<Row> = { ...compiled, parameters: toParameters(compiled, values), values, ...options }
    return db.executeQuery(query)
  }
}
