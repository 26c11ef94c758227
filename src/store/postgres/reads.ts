import type { Compilable, Kysely } from 'kysely'
import type { Tx } from '../store.ts'
import type { Tables } from '../tables.ts'
import { toStoreFailure } from './failures.ts'

/** Runs a read of the database. Rejects with STORE_UNAVAILABLE if the database fails. */
export const guardRead = async <Value>(read: () => Promise<Value>): Promise<Value> => {
  try {
    return await read()
  } catch (error) {
    throw toStoreFailure(error)
  }
}

/**
 * A read that is compiled once: to build and compile a query takes longer than to send it. It is called with the
 * parameters of the statement, in their order.
 */
export const createStatement = <Row>(
  db: Kysely<Tables>, query: Pick<Compilable<Row>, 'compile'>
): ((...parameters: unknown[]) => Promise<Row[]>) => {
  const compiled = query.compile()
  return (...parameters) => guardRead(async () => (await db.executeQuery<Row>({ ...compiled, parameters })).rows)
}

/** Runs several statements that all read one moment. */
export const readSnapshot = <Value>(db: Kysely<Tables>, read: (tx: Tx) => Promise<Value>): Promise<Value> =>
  guardRead(() => db.transaction().setIsolationLevel('repeatable read').setAccessMode('read only').execute(read))
