import type { Socket } from 'node:net'
import type { CompiledQuery, DatabaseConnection, QueryResult } from 'kysely'
import type pg from 'pg'
import { CommitRefused, ConnectionLost, isServerError } from '../failures.ts'
import type { Cut } from './circuit.ts'
import { BytesQuery, hasLargeBytes } from './bytes-query.ts'
import { CopyOut } from './copy-out.ts'
import type { Pool } from './pools.ts'
import type { KeptQuery } from '../../sql/dialect.ts'
import { isRead, toQueryConfig } from './query-config.ts'

// pg does not show its socket.
const socketOf = (client: pg.PoolClient): Socket =>
  (client as unknown as { connection: { stream: Socket } }).connection.stream

const notCut = () => {}

/** A connection of a pool, as the query builder uses it until it releases it. */
export class Connection implements DatabaseConnection {
  readonly #client: pg.PoolClient
  readonly #leaveCircuit: () => void
  #isUsable = true
  #failure: Error | undefined
  #isToBegin = false
  #beginning: Promise<unknown> | undefined
  #isHeldBack = false
  #committing: Promise<void> | undefined
  #isCorked = false

  constructor (client: pg.PoolClient, { enter }: Pick<Pool, 'enter'>) {
    this.#client = client
    this.#leaveCircuit = enter?.(this.#cut) ?? notCut
  }

  readonly #cut: Cut = failure => {
    this.#failure = failure
    this.#isUsable = false
    // To end the client instead would wait for the answers to what it has sent.
    socketOf(this.#client).destroy()
  }

  query (config: string | pg.QueryConfig): Promise<pg.QueryResult> {
    this.#cork()
    return this.#use(() => this.#client.query(config))
  }

  // pg writes each statement to the socket. Those of one tick are written at once: the server wakes up once.
  #cork (): void {
    if (this.#isCorked) return
    this.#isCorked = true
    const socket = socketOf(this.#client)
    socket.cork()
    process.nextTick(() => {
      this.#isCorked = false
      socket.uncork()
    })
  }

  #sendBytes (config: pg.QueryConfig): Promise<pg.QueryResult> {
    return this.#use(() => new Promise((resolve, reject) => {
      this.#client.query(new BytesQuery(config, (error, result) => {
        if (error === null) resolve(result)
        else reject(error)
      }))
    }))
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
   * Begins a transaction with its first statements, at the same time if they only read and lock: should it not begin,
   * they have no effect, and no other follows.
   */
  begin (): void {
    this.#isToBegin = true
  }

  #beginNow (): void {
    this.#isToBegin = false
    const beginning = this.query('begin')
    this.#beginning = beginning
    beginning.then(() => { this.#beginning = undefined }, () => { this.#isUsable = false })
  }

  async executeQuery<Row> (query: CompiledQuery): Promise<QueryResult<Row>> {
    if (this.#committing !== undefined) throw new Error('a work sent a statement after its last one')
    if (this.#isToBegin) this.#beginNow()
    // A statement that has to wait holds back those behind it.
    this.#isHeldBack ||= !isRead(query)
    if (this.#beginning !== undefined && this.#isHeldBack) await this.#beginning
    const answering = hasLargeBytes(query.parameters)
      ? this.#sendBytes(toQueryConfig(query))
      : this.query(toQueryConfig(query))
    // The caller gets its failure when it commits, after that of the statement.
    if ((query as KeptQuery).isLast === true) this.commitWrites().catch(() => {})
    const { rows, rowCount } = await answering
    return { rows: rows as Row[], numAffectedRows: BigInt(rowCount ?? 0) }
  }

  async * streamQuery (): AsyncGenerator<never> {
    throw new Error('the service streams no query')
  }

  async commit (): Promise<void> {
    if (this.#isToBegin) return
    if (this.#beginning !== undefined) await this.#beginning
    const { command } = await this.query('commit')
    if (command !== 'COMMIT') throw new CommitRefused()
  }

  /**
   * Commits once, with the statements that are under way: if one of them fails, Postgres rolls back. Its outcome would be
   * unknown if it were cut, so only its own time limit ends it. Postgres also answers a COMMIT whose wait for the standby
   * an operator has cancelled, with a warning: a failover may still lose it.
   */
  commitWrites (): Promise<void> {
    this.#committing ??= this.#commitWritesNow()
    return this.#committing
  }

  async #commitWritesNow (): Promise<void> {
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
    // What it has done is known to the caller, whose statement has failed.
    if (this.#committing !== undefined) return await this.#committing.catch(() => {})
    if (!this.#isUsable || this.#isToBegin) return
    await this.query('rollback').catch(() => { this.#isUsable = false })
  }

  release (): void {
    this.#leaveCircuit()
    this.#client.release(!this.#isUsable)
    // A statement that comes too late must not run in the transaction of another.
    this.#isUsable = false
  }
}
