import { type CompiledQuery, type Kysely, PostgresAdapter, type QueryResult } from 'kysely'
import type { Tables } from './tables.ts'

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

const anyParameter = new Proxy({}, { get: (_, name) => new Parameter(String(name)) })

/**
 * A statement that is built once for each kind of database, when it is first run: to build and compile a query takes
 * longer than to run it. `build` gets a stand-in for each parameter, which it may use as a value and nothing else: the
 * text of the statement is the same for all values.
 */
export const keepStatement = <Parameters extends object, Row = never>(
  build: (db: Kysely<Tables>, parameters: Readonly<Parameters>) => { compile: (db: Kysely<Tables>) => CompiledQuery<Row> }
): ((db: Kysely<Tables>, values: Readonly<Parameters>) => Promise<QueryResult<Row>>) => {
  const kept = new Map<boolean, CompiledQuery<Row>>()
  return (db, values) => {
    const compiled = kept.get(isPostgres(db)) ?? build(db, anyParameter as Parameters).compile(db)
    kept.set(isPostgres(db), compiled)
    const parameters = compiled.parameters.map(parameter =>
      parameter instanceof Parameter ? values[parameter.name as keyof Parameters] : parameter)
    return db.executeQuery({ ...compiled, parameters })
  }
}
