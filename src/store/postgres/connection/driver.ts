import {
  type DatabaseConnection, type Dialect, type Driver, DummyDriver, type Kysely, PostgresAdapter, PostgresIntrospector,
  Transaction, type TransactionSettings
} from 'kysely'
import { Connection } from './connection.ts'
import { FoldingCompiler } from './folding-compiler.ts'
import type { Tables } from '../../tables.ts'
import type { Pool } from './pools.ts'

/*
 * Kysely on a pool of pg. Kysely's own driver names no statement, so the server would parse and plan each one again:
 * a point read then costs it twice as much.
 */

class PoolDriver implements Driver {
  readonly #pool: Pool

  constructor (pool: Pool) {
    this.#pool = pool
  }

  async init (): Promise<void> {}

  async acquireConnection (): Promise<Connection> {
    return new Connection(await this.#pool.connect(), this.#pool)
  }

  async beginTransaction (connection: Connection, settings: TransactionSettings): Promise<void> {
    const { isolationLevel, accessMode } = settings
    const modes = [isolationLevel === undefined ? '' : `isolation level ${isolationLevel}`, accessMode ?? '']
    await connection.query(`begin ${modes.join(' ')}`.trim())
  }

  async commitTransaction (connection: Connection): Promise<void> {
    await connection.commit()
  }

  async rollbackTransaction (connection: Connection): Promise<void> {
    await connection.rollback()
  }

  async releaseConnection (connection: Connection): Promise<void> {
    connection.release()
  }

  async destroy (): Promise<void> {
    await this.#pool.close()
  }
}

// The migration has a lock of its own, which ends with its transaction. Kysely's is released by a statement, which fails
// after a failed migration and hides why.
class UnlockedAdapter extends PostgresAdapter {
  override async acquireMigrationLock (): Promise<void> {}

  override async releaseMigrationLock (): Promise<void> {}
}

/** The query builder's dialect on a pool; `destroy` of the query builder closes the pool. */
export const toDialect = (pool: Pool): Dialect => ({
  createAdapter: () => new UnlockedAdapter(),
  createDriver: () => new PoolDriver(pool),
  createIntrospector: db => new PostgresIntrospector(db),
  createQueryCompiler: () => new FoldingCompiler()
})

// Of these a transaction only needs that they are there: it opens no connection of its own.
const ofTransaction: Dialect = {
  createAdapter: () => new UnlockedAdapter(),
  createDriver: () => new DummyDriver(),
  createIntrospector: db => new PostgresIntrospector(db),
  createQueryCompiler: () => new FoldingCompiler()
}

/** A transaction as one of its users sees it: through a connection of its own. */
type ToTx = (connection: DatabaseConnection) => Transaction<Tables>

/** Begins a transaction, runs work on its connection, and commits or rolls back. */
export const inTransaction = <Value>(
  db: Kysely<Tables>, work: (connection: Connection, toTx: ToTx) => Promise<Value>
): Promise<Value> => {
  const executor = db.getExecutor()
  const toTx: ToTx = connection => new Transaction<Tables>({
    config: { dialect: ofTransaction },
    dialect: ofTransaction,
    driver: ofTransaction.createDriver(),
    executor: executor.withConnectionProvider({ provideConnection: consumer => consumer(connection) })
  })
  return executor.provideConnection(async connection => {
    if (!(connection instanceof Connection)) throw new Error('the connection is of another driver')
    try {
      connection.begin()
      const value = await work(connection, toTx)
      await connection.commitWrites()
      return value
    } catch (error) {
      await connection.rollback()
      throw error
    }
  })
}

/**
 * Runs work in a transaction of the query builder's database. Statements that the work begins at once are sent at once,
 * and run one after the other; a transaction of Kysely's own would send each after the answer to the one before.
 */
export const runTransaction = <Value>(
  db: Kysely<Tables>, work: (tx: Transaction<Tables>) => Promise<Value>
): Promise<Value> => inTransaction(db, (connection, toTx) => work(toTx(connection)))

/** Runs a COPY … TO STDOUT on a connection of the pool and returns what it writes, row by row. */
export const copyOut = async (pool: Pool, text: string): Promise<Buffer[]> => {
  const connection = new Connection(await pool.connect(), pool)
  try {
    return await connection.copyOut(text)
  } finally {
    connection.release()
  }
}
