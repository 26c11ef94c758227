import type { Socket } from 'node:net'
import {
  type CompiledQuery, type DatabaseConnection, type Dialect, type Driver, DummyDriver, type Kysely, PostgresAdapter,
  PostgresIntrospector, type QueryResult, Transaction, type TransactionSettings
} from 'kysely'
import type pg from 'pg'
import { CopyOut } from './copy-out.ts'
import { CommitRefused, ConnectionLost, isServerError } from '../failures.ts'
import { FoldingCompiler } from './folding-compiler.ts'
import type { Tables } from '../../tables.ts'
import type { Cut } from './circuit.ts'
import type { Pool } from './pools.ts'
import { isRead, toQueryConfig } from './query-config.ts'

/*
 * Kysely on a pool of pg. Kysely's own driver names no statement, so the server would parse and plan each one again:
 * a point read then costs it twice as much.
 */

// pg does not show its socket. To end a client instead would wait for the answers to what it has sent.
const closeSocket = (client: pg.PoolClient): void => {
  (client as unknown as { connection: { stream: Socket } }).connection.stream.destroy()
}

const notCut = () => {}

class Connection implements DatabaseConnection {
  readonly #client: pg.PoolClient
  readonly #leaveCircuit: () => void
  #isUsable = true
  #failure: Error | undefined
  #beginning: Promise<unknown> | undefined
  #isHeldBack = false

  constructor (client: pg.PoolClient, { enter }: Pick<Pool, 'enter'>) {
    this.#client = client
    this.#leaveCircuit = enter?.(this.#cut) ?? notCut
  }

  readonly #cut: Cut = failure => {
    this.#failure = failure
    this.#isUsable = false
    closeSocket(this.#client)
  }

  query (config: string | pg.QueryConfig): Promise<pg.QueryResult> {
    return this.#use(() => this.#client.query(config))
  }

  /** Runs a COPY … TO STDOUT and returns what it writes, row by row. */
  copyOut (text: string): Promise<Buffer[]> {
    return this.#use(() => new Promise((resolve, reject) => {
      const query = new CopyOut(text, error => {
        if (error === null) resolve(query.written)
        else reject(error)
      })
      this.#client.query(query)
    }))
  }

  /**
   * Any failure but an error of the server leaves it unknown what is under way on the connection, and pg would hand it
   * out again: it is closed instead.
   */
  async #use<Value> (work: () => Promise<Value>): Promise<Value> {
    if (!this.#isUsable) throw this.#failure ?? new ConnectionLost('the connection was closed')
    try {
      return await work()
    } catch (error) {
      if (isServerError(error)) throw error
      this.#isUsable = false
      throw this.#failure ?? new ConnectionLost(error)
    }
  }

  /**
   * Begins a transaction together with its first statements if they only read and lock: should it not begin, they have
   * no effect, and no other follows.
   */
  begin (): void {
    const beginning = this.query('begin')
    this.#beginning = beginning
    beginning.then(() => { this.#beginning = undefined }, () => { this.#isUsable = false })
  }

  async executeQuery<Row> (query: CompiledQuery): Promise<QueryResult<Row>> {
    // A statement that has to wait holds back those behind it.
    this.#isHeldBack ||= !isRead(query)
    if (this.#beginning !== undefined && this.#isHeldBack) await this.#beginning
    const { rows, rowCount } = await this.query(toQueryConfig(query))
    return { rows: rows as Row[], numAffectedRows: BigInt(rowCount ?? 0) }
  }

  async * streamQuery (): AsyncGenerator<never> {
    throw new Error('the service streams no query')
  }

  async commit (): Promise<void> {
    await this.#beginning
    const { command } = await this.query('commit')
    if (command !== 'COMMIT') throw new CommitRefused()
  }

  /**
   * Its outcome would be unknown if it were cut, so only its own time limit ends it. Postgres also answers a COMMIT whose
   * wait for the standby an operator has cancelled, with a warning: a failover may still lose it.
   */
  async commitWrites (): Promise<void> {
    this.#leaveCircuit()
    let isConfirmed = true
    const onNotice = ({ routine }: { routine: string | undefined }) => {
      if (routine === 'SyncRepWaitForLSN') isConfirmed = false
    }
    this.#client.on('notice', onNotice)
    try {
      await this.commit()
    } finally {
      this.#client.off('notice', onNotice)
    }
    if (!isConfirmed) throw new ConnectionLost('the standby has not confirmed the commit')
  }

  // A connection that fails here is closed, which rolls back as well; its failure must not hide the first one.
  async rollback (): Promise<void> {
    if (!this.#isUsable) return
    await this.query('rollback').catch(() => { this.#isUsable = false })
  }

  release (): void {
    this.#leaveCircuit()
    this.#client.release(!this.#isUsable)
    // A statement that comes too late must not run in the transaction of another.
    this.#isUsable = false
  }
}

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
