import {
  type CompiledQuery, type DatabaseConnection, type Dialect, type Driver, PostgresAdapter, PostgresIntrospector,
  type QueryResult, type TransactionSettings
} from 'kysely'
import type pg from 'pg'
import { CommitRefused, ConnectionLost, isServerError } from '../failures.ts'
import { FoldingCompiler } from './folding-compiler.ts'
import type { Pool } from './pools.ts'

/*
 * Kysely on a pool of pg. Kysely's own driver names no statement, so the server would parse and plan each one again:
 * a point read then costs it twice as much.
 */

// The service has fewer statements than this. What has a list of values has a text for every length of the list.
const namesMax = 1000
const namedParametersMax = 60

const names = new Map<string, string>()

// The name stands for the same text on every connection.
const nameOf = ({ sql, parameters }: CompiledQuery): string | undefined => {
  const known = names.get(sql)
  if (known !== undefined) return known
  if (names.size >= namesMax || parameters.length > namedParametersMax) return undefined
  const name = `s${names.size}`
  names.set(sql, name)
  return name
}

const toQueryConfig = (query: CompiledQuery): pg.QueryConfig => {
  const [name, text, values] = [nameOf(query), query.sql, [...query.parameters]]
  return name === undefined ? { text, values } : { name, text, values }
}

class Connection implements DatabaseConnection {
  readonly #client: pg.PoolClient
  #isUsable = true

  constructor (client: pg.PoolClient) {
    this.#client = client
  }

  /**
   * Any failure but an error of the server leaves it unknown what is under way on the connection, and pg would hand it
   * out again: it is closed instead.
   */
  async query (config: string | pg.QueryConfig): Promise<pg.QueryResult> {
    if (!this.#isUsable) throw new ConnectionLost('the connection was closed')
    try {
      return await this.#client.query(config)
    } catch (error) {
      if (isServerError(error)) throw error
      this.#isUsable = false
      throw new ConnectionLost(error)
    }
  }

  async executeQuery<Row> (query: CompiledQuery): Promise<QueryResult<Row>> {
    const { rows, rowCount } = await this.query(toQueryConfig(query))
    return { rows: rows as Row[], numAffectedRows: BigInt(rowCount ?? 0) }
  }

  async * streamQuery (): AsyncGenerator<never> {
    throw new Error('the service streams no query')
  }

  async commit (): Promise<void> {
    const { command } = await this.query('commit')
    if (command !== 'COMMIT') throw new CommitRefused()
  }

  // A connection that fails here is closed, which rolls back as well; its failure must not hide the first one.
  async rollback (): Promise<void> {
    if (!this.#isUsable) return
    await this.query('rollback').catch(() => { this.#isUsable = false })
  }

  release (): void {
    this.#client.release(!this.#isUsable)
  }
}

class PoolDriver implements Driver {
  readonly #pool: Pool

  constructor (pool: Pool) {
    this.#pool = pool
  }

  async init (): Promise<void> {}

  async acquireConnection (): Promise<Connection> {
    return new Connection(await this.#pool.connect())
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
