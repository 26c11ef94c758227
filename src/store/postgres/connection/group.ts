import type { CompiledQuery, DatabaseConnection, Kysely, QueryResult } from 'kysely'
import type { KeptQuery, SharedStatement } from '../../sql/dialect.ts'
import type { Tx } from '../../store.ts'
import type { Tables } from '../../tables.ts'
import { inTransaction } from './driver.ts'
import { isRead } from './query-config.ts'
import { toManyAtOnce, valuesOf } from './shared-statement.ts'

/** This work cannot be part of a group: it has to wait for a lock, or needs what another work of the group holds. */
class NotTogether extends Error {
  constructor () {
    super('the work has to run by itself')
    this.name = 'NotTogether'
  }
}

type Call = {
  query: KeptQuery, member: Member, resolve: (result: QueryResult<never>) => void, reject: (error: unknown) => void
}

type Step = { shared: SharedStatement | undefined, calls: Call[] }

// The statements of each member stay in their order. Those of several that are the same become one step.
const toSteps = (calls: readonly Call[]): Step[] => {
  const steps: Step[] = []
  const latest = new Map<Member, number>()
  for (const call of calls) {
    const { member, query: { shared } } = call
    const after = latest.get(member) ?? -1
    let at = shared === undefined ? -1 : steps.findIndex((step, index) => index > after && step.shared === shared)
    if (at === -1) at = steps.push({ shared, calls: [] }) - 1
    steps[at]?.calls.push(call)
    latest.set(member, at)
  }
  return steps
}

/** What a group does on the connection of its transaction: it runs a statement, and begins to commit. */
type GroupConnection = { run: (query: CompiledQuery) => Promise<QueryResult<unknown>>, commit: () => void }

/**
 * The statements of several works in one transaction. Works that do the same send the same statements: what they send in
 * one turn goes to the server at once, with one statement for all calls of a shared one.
 */
class Group {
  readonly #db: Kysely<Tables>
  readonly #connection: GroupConnection
  /** The members that may send more. */
  readonly #sending = new Set<Member>()
  #isCommitting = false
  readonly #locked = new Set<unknown>()
  #hasDealt = false
  #calls: Call[] = []
  /** The first failure of a statement, or of a work that has written: the transaction can only be rolled back. */
  #failure: { error: unknown } | undefined

  constructor (db: Kysely<Tables>, connection: GroupConnection) {
    this.#db = db
    this.#connection = connection
  }

  join (): Member {
    const member = new Member(this)
    this.#sending.add(member)
    return member
  }

  /** The member sends nothing more. If it failed, what it has written is undone, unless that is committed already. */
  leave (member: Member, failure?: { error: unknown }): void {
    this.#sending.delete(member)
    if (failure !== undefined && member.hasWritten && !this.#isCommitting) this.#failure ??= failure
  }

  requireNoFailure (): void {
    if (this.#failure !== undefined) throw this.#failure.error
  }

  send (member: Member, query: KeptQuery): Promise<QueryResult<never>> {
    if (this.#failure !== undefined) return Promise.reject(new NotTogether())
    if (!this.#sending.has(member)) return Promise.reject(new Error('a work sent a statement after its last one'))
    if (query.isLast === true) this.#sending.delete(member)
    return new Promise((resolve, reject) => {
      // When the tick ends, each work waits for an answer: works wait for nothing but the database.
      if (this.#calls.length === 0) process.nextTick(() => { this.#sendAll() })
      this.#calls.push({ query, member, resolve, reject })
    })
  }

  #sendAll (): void {
    const steps = toSteps(this.#calls)
    this.#calls = []
    for (const step of steps) {
      const calls = this.#admit(step)
      if (calls.length > 0) void this.#runStep({ ...step, calls })
    }
    if (this.#sending.size > 0 || this.#failure !== undefined) return
    this.#isCommitting = true
    this.#connection.commit()
  }

  // Two works on one job run one after the other, and rows are dealt out once: this transaction sees its own locks as free.
  #admit ({ shared, calls }: Step): Call[] {
    const isFirst = !this.#hasDealt
    this.#hasDealt ||= shared?.kind === 'deal'
    return calls.filter(({ query, reject }) => {
      const { jobId } = shared?.kind === 'lock' ? valuesOf(query) : {}
      const isAdmitted = shared?.kind === 'deal' ? isFirst : jobId === undefined || !this.#locked.has(jobId)
      if (jobId !== undefined) this.#locked.add(jobId)
      if (!isAdmitted) reject(new NotTogether())
      return isAdmitted
    })
  }

  async #runStep ({ shared, calls }: Step): Promise<void> {
    try {
      const results = await this.#resultsOf(shared, calls)
      for (const [index, { resolve, reject }] of calls.entries()) {
        const result = results[index] as QueryResult<never>
        if (shared?.kind === 'lock' && result.rows.length === 0) reject(new NotTogether())
        else resolve(result)
      }
    } catch (error) {
      this.#failure ??= { error }
      for (const { reject } of calls) reject(error)
    }
  }

  async #resultsOf (shared: SharedStatement | undefined, calls: readonly Call[]): Promise<Array<QueryResult<unknown>>> {
    if (shared === undefined) {
      // The group decides when it commits.
      return await Promise.all(calls.map(({ query: { isLast: _, ...query } }) => this.#connection.run(query)))
    }
    const { toQuery, toResults } = toManyAtOnce(this.#db, shared)
    const { rows } = await this.#connection.run(toQuery(calls.map(({ query }) => valuesOf(query))))
    return toResults(rows as Array<Record<string, unknown>>, calls.length)
  }
}

/** The connection of a group as one of its works sees it. */
class Member implements DatabaseConnection {
  readonly #group: Group
  /** Whether it has sent anything that may change the database. */
  hasWritten = false

  constructor (group: Group) {
    this.#group = group
  }

  executeQuery<Row> (query: CompiledQuery): Promise<QueryResult<Row>> {
    this.hasWritten ||= !isRead(query)
    return this.#group.send(this, query)
  }

  async * streamQuery (): AsyncGenerator<never> {
    throw new Error('the service streams no query')
  }
}

/** How a work of a group ended. `apart`: it changed nothing, and has to run by itself. */
export type Outcome = { kind: 'done', value: unknown } | { kind: 'failed', error: unknown } | { kind: 'apart' }

/**
 * Runs works in one transaction, side by side. Rejects if none of them took effect, because a statement failed or one of
 * them failed after it had written; one that fails before that harms no other. Calls `onWorked` before it commits.
 */
export const runGroup = (
  db: Kysely<Tables>, works: ReadonlyArray<(tx: Tx) => Promise<unknown>>, onWorked: () => void
): Promise<Outcome[]> => inTransaction(db, async (connection, toTx) => {
  const group = new Group(db, {
    run: query => connection.executeQuery(query),
    commit: () => {
      onWorked()
      // The transaction waits for it below, after the answers to the statements before it.
      connection.commitWrites().catch(() => {})
    }
  })
  const outcomes = await Promise.all(works.map(async (work): Promise<Outcome> => {
    const member = group.join()
    try {
      const value = await work(toTx(member))
      group.leave(member)
      return { kind: 'done', value }
    } catch (error) {
      group.leave(member, { error })
      return error instanceof NotTogether ? { kind: 'apart' } : { kind: 'failed', error }
    }
  }))
  group.requireNoFailure()
  onWorked()
  return outcomes
})
