import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { Kysely, sql } from 'kysely'
import { from as copyFrom, to as copyTo } from 'pg-copy-streams'
import type pg from 'pg'
import { databaseNameOf } from '../../open/database-url.ts'
import { MoveFailed } from '../../errors.ts'
import type { MoveTarget, OwnKey, SourceFacts, TargetTables } from '../../move/move-database.ts'
import { type MovedTable, movedTables } from '../../move/moved-tables.ts'
import type { Tx } from '../../store.ts'
import type { Tables } from '../../tables.ts'
import { creditLostTime, type LostTime } from '../../tx/lost-time.ts'
import { replaceOwnKey } from '../../tx/own-keys.ts'
import { toDialect } from '../connection/driver.ts'
import type { Pool } from '../connection/pools.ts'
import { isRetried } from '../failures.ts'
import { requireTriggers } from '../fitness.ts'
import { lockMigrations, renewIncarnation } from '../identity/incarnation.ts'
import { openForProcess } from '../open.ts'
import { serverMs } from '../server-clock.ts'

/*
 * The database that a move fills: one transaction, under the lock that a start takes too. Readers see nothing of it
 * before its end, and a move that is cut is rolled back by the server.
 */

// How long to wait for the sessions of others.
const lockTimeout = '10s'
// These draw versions and reject what has ended; they go on with the rows as they are when these are there.
const suspendedTriggers = ['zz_inserting', 'zz_inserted']
const movedFrom = 'movedFrom'

const toList = (table: MovedTable): string => table.columns.map(({ name }) => name).join(', ')

const createTables = (client: pg.ClientBase): TargetTables => ({
  copyIn: async (table, blocks) => {
    const stream = client.query(copyFrom(`COPY ${table.name} (${toList(table)}) FROM STDIN (FORMAT binary)`))
    await pipeline(Readable.from(blocks), stream)
    return stream.rowCount
  },
  copyOut: table => client.query(copyTo(
    `COPY (SELECT ${toList(table)} FROM ${table.name} ORDER BY ${table.orderBy.join(', ')}) TO STDOUT (FORMAT binary)`
  )) as AsyncIterable<Uint8Array>
})

const keeping = (client: pg.PoolClient): pg.PoolClient => new Proxy(client, {
  get: (_, name) => {
    if (name === 'release') return () => {}
    const value: unknown = Reflect.get(client, name)
    return typeof value === 'function' ? value.bind(client) as unknown : value
  }
})

// A pool of one connection, which it keeps: statements and COPY then share a transaction.
const sharing = (client: pg.PoolClient): Pool => ({
  connect: () => Promise.resolve(keeping(client)),
  close: () => Promise.resolve()
})

const lockTables = async (tx: Tx): Promise<void> => {
  await sql`SET LOCAL lock_timeout = ${sql.lit(lockTimeout)}`.execute(tx)
  try {
    await lockMigrations(tx)
    const names = [...movedTables.map(({ name }) => name), 'JobChange', 'ServiceState'].join(', ')
    await sql`LOCK TABLE ${sql.raw(names)} IN SHARE ROW EXCLUSIVE MODE`.execute(tx)
  } catch (error) {
    if (isRetried(error)) throw new MoveFailed(['--to: another process is working on it: stop it, then move'], { cause: error })
    throw error
  }
}

type Origin = Pick<SourceFacts, 'incarnation' | 'version'>

const toOrigin = ({ incarnation, version }: Origin): string => JSON.stringify({ incarnation, version })

/** Whether the same source was moved here before. Throws MoveFailed if there are other jobs. */
const isFilled = async (tx: Tx, facts: SourceFacts): Promise<boolean> => {
  const row = await tx.selectFrom('ServiceState').select('value').where('name', '=', movedFrom).executeTakeFirst()
  if (row?.value === toOrigin(facts)) return true
  for (const { name } of movedTables) {
    const { rows } = await sql`SELECT 1 FROM ${sql.raw(name)} LIMIT 1`.execute(tx)
    if (rows.length === 0) continue
    throw new MoveFailed([`--to: it has jobs of its own (${name} has rows): a move needs a database without jobs`])
  }
  return false
}

const alterTriggers = async (tx: Tx, verb: 'DISABLE' | 'ENABLE ALWAYS'): Promise<void> => {
  for (const name of suspendedTriggers) {
    await sql`ALTER TABLE JobExecutionLog ${sql.raw(`${verb} TRIGGER ${name}`)}`.execute(tx)
  }
}

const setState = async (tx: Tx, name: string, value: string): Promise<void> => {
  await tx.insertInto('ServiceState').values({ name, value })
    .onConflict(conflict => conflict.column('name').doUpdateSet({ value })).execute()
}

// The most that CANCEL_GRACE_SECONDS can be: no cancellation was asked for since the service was stopped.
const cancelGraceMsMax = 86_400_000

// A time that had passed has passed by the server's clock too, and none gets before another.
const moveTime = async (
  tx: Tx, table: 'JobQueue' | 'JobCallback', column: 'availableAt' | 'nextTryAt', { beganAt, endedAt }: LostTime
): Promise<void> => {
  const time = sql.raw(column)
  await sql`UPDATE ${sql.raw(table)} SET ${time} = greatest(${time} + ${endedAt - beganAt}, ${endedAt})
    WHERE ${time} > ${Math.min(beganAt, endedAt)}`.execute(tx)
}

/*
 * Leases and cancellations, and what waits for its next attempt or its next try, have as much time left as they had when
 * the service was stopped. They were written by the clock of the source's machine and go on by that of the server, so the
 * time is negative where that one is behind.
 */
const creditMove = async (tx: Tx, { lastWrittenAt }: SourceFacts): Promise<void> => {
  const { rows: [clock] } = await sql<{ ms: number }>`SELECT ${serverMs} AS ms`.execute(tx)
  if (clock === undefined) throw new Error('the server did not say what time it is')
  const lost = { beganAt: Math.floor(lastWrittenAt), endedAt: clock.ms }
  await creditLostTime(tx, [lost], cancelGraceMsMax)
  await moveTime(tx, 'JobQueue', 'availableAt', lost)
  await moveTime(tx, 'JobCallback', 'nextTryAt', lost)
}

const takeOver = async (tx: Tx, facts: SourceFacts, keys: readonly OwnKey[]): Promise<void> => {
  for (const [name, value] of facts.state) await setState(tx, name, value)
  for (const { name, key } of keys) await replaceOwnKey(tx, name, key)
  await setState(tx, movedFrom, toOrigin(facts))
  await sql`SELECT setval('JobVersion', greatest(${facts.version}, last_value)) FROM JobVersion`.execute(tx)
  await creditMove(tx, facts)
  await renewIncarnation(tx)
}

/** `monotonicNow` in ms of a clock that only goes forward. */
export type MoveTargetNeeds = { url: string, monotonicNow: () => number }

const toMoveFailed = (url: string, error: unknown): MoveFailed => {
  if (error instanceof MoveFailed) return error
  const reason = error instanceof Error ? error.message : String(error)
  return new MoveFailed([`--to: cannot use ${databaseNameOf(url)}: ${reason}`], { cause: error })
}

// Until the server has counted the rows, it would take a large table for an empty one.
const countRows = async (db: Kysely<Tables>): Promise<void> => {
  for (const { name } of movedTables) await sql`ANALYZE ${sql.raw(name)}`.execute(db)
}

const createFill = (client: pg.PoolClient): MoveTarget['fill'] => async (facts, keys, work) => {
  const db = new Kysely<Tables>({ dialect: toDialect(sharing(client)) })
  const value = await db.transaction().execute(async tx => {
    await lockTables(tx)
    if (await isFilled(tx, facts)) return null
    await alterTriggers(tx, 'DISABLE')
    const value = await work(createTables(client))
    await alterTriggers(tx, 'ENABLE ALWAYS')
    await takeOver(tx, facts, keys)
    await requireTriggers(tx)
    return value
  })
  if (value !== null) await countRows(db)
  return value
}

/** Opens the database and migrates it to this release. Throws MoveFailed. */
export const openMoveTarget = async ({ url, monotonicNow }: MoveTargetNeeds): Promise<MoveTarget> => {
  const explain = (error: unknown): never => { throw toMoveFailed(url, error) }
  const { database } = await openForProcess(url, monotonicNow).catch(explain)
  return {
    fill: async (facts, keys, work) => {
      const client = await database.pools.bulk.connect().catch(explain)
      // A connection that was cut in the middle is not used again.
      return await createFill(client)(facts, keys, work).catch(explain).finally(() => { client.release(true) })
    },
    close: database.close
  }
}
