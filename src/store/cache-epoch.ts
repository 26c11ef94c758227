import type { Selectable } from 'kysely'
import type { Database } from './sqlite/database.ts'
import type { Tables } from './tables.ts'
import { guardRead, type Transact, type Tx } from './sqlite/transact.ts'

/*
 * The rows by which the processes on one database agree about their cache. What they mean: status/shared-epoch.ts. Here
 * is only what has to be one transaction.
 */

/** What all have agreed on. `changedAt` in ms since 1970; `holdMs`: how long it stays off at least. */
export type EpochRow = Omit<Selectable<Tables['CacheEpoch']>, 'id'>

/**
 * A process: what it last acknowledged, and the Redis that it can use. `beat` rises with everything it writes here;
 * `isGone`: others have not heard of it for long.
 */
export type NodeRow = Selectable<Tables['CacheNode']>

/** Both, at one moment. */
export type EpochRows = { epoch: EpochRow, nodes: readonly NodeRow[] }

/** What a process acknowledges: it never again acts on anything older. */
export type Acknowledgement = Pick<NodeRow, 'epoch' | 'mode' | 'runId'>

/** All but `read` write, and all throw STORE_UNAVAILABLE. */
export type EpochRowStore = {
  read: () => EpochRows
  /** Enters a process, in an epoch that begins with it; `dead` are removed, for they are known to have ended. */
  join: (node: string, name: string, dead: readonly string[]) => Promise<void>
  /** Begins a new epoch, off, unless the one that was seen has ended already. */
  trip: (node: string, seen: string, name: string, reason: string) => Promise<void>
  acknowledge: (node: string, what: Acknowledgement) => Promise<void>
  /** Goes on from what was seen; nothing happens if that is past. */
  advance: (seen: Pick<EpochRow, 'name' | 'mode'>, mode: 'warm' | 'on', runId: string) => Promise<void>
  /** These have not been heard of since; one that was, meanwhile, stays. */
  evict: (nodes: readonly NodeRow[]) => Promise<void>
  remove: (nodes: readonly NodeRow[]) => Promise<void>
  leave: (node: string) => Promise<void>
}

const holdMsMin = 100
const holdMsMax = 2000
// A cache that held for so long has earned a quick return; one that flaps waits longer each time.
const provenMs = 10_000

const toHold = ({ mode, changedAt, flaps }: EpochRow, at: number): Pick<EpochRow, 'flaps' | 'holdMs'> => {
  const held = mode === 'on' && at - changedAt >= provenMs
  return { flaps: held ? 1 : Math.min(flaps + 1, 10), holdMs: held ? holdMsMin : Math.min(holdMsMax, holdMsMin * 2 ** flaps) }
}

const epochColumns = ['name', 'mode', 'runId', 'reason', 'changedAt', 'holdMs', 'flaps'] as const

const readEpoch = async (tx: Tx): Promise<EpochRow> =>
  await tx.selectFrom('CacheEpoch').select(epochColumns).executeTakeFirstOrThrow()

const writeEpoch = async (tx: Tx, row: Partial<EpochRow>): Promise<void> => {
  await tx.updateTable('CacheEpoch').set(row).execute()
}

type JoinedRow = EpochRow & {
  node: string | null
  nodeEpoch: string
  nodeMode: NodeRow['mode']
  nodeRunId: string | null
  beat: number
  isGone: number
}

// One statement, so that both are of one moment.
const createRead = ({ reader, writer }: Database): EpochRowStore['read'] => {
  const { sql } = writer.selectFrom('CacheEpoch').leftJoin('CacheNode', join => join.onTrue()).select([
    'name', 'CacheEpoch.mode', 'CacheEpoch.runId', 'reason', 'changedAt', 'holdMs', 'flaps',
    'node', 'epoch as nodeEpoch', 'CacheNode.mode as nodeMode', 'CacheNode.runId as nodeRunId', 'beat', 'isGone'
  ]).compile()
  const statement = reader.prepare<[], JoinedRow>(sql)
  return () => guardRead(() => {
    const rows = statement.all()
    const [first] = rows
    if (first === undefined) throw new Error('CacheEpoch is empty')
    const { name, mode, runId, reason, changedAt, holdMs, flaps } = first
    const nodes = rows.flatMap(({ node, nodeEpoch, nodeMode, nodeRunId, beat, isGone }) =>
      node === null ? [] : [{ node, epoch: nodeEpoch, mode: nodeMode, runId: nodeRunId, beat, isGone }])
    return { epoch: { name, mode, runId, reason, changedAt, holdMs, flaps }, nodes }
  })
}

/** `now` in ms since 1970. */
export const createEpochRowStore = ({ database, transact, now }: { database: Database, transact: Transact, now: () => number }): EpochRowStore => {
  const enter = async (tx: Tx, node: string, epoch: string) => {
    await tx.insertInto('CacheNode').values({ node, epoch, mode: 'off', runId: null, beat: 1, isGone: 0 })
      .onConflict(conflict => conflict.column('node').doUpdateSet(({ eb }) =>
        ({ epoch, mode: 'off', runId: null, beat: eb('CacheNode.beat', '+', 1), isGone: 0 })))
      .execute()
  }
  return {
    read: createRead(database),
    join: (node, name, dead) => transact(async tx => {
      if (dead.length > 0) await tx.deleteFrom('CacheNode').where('node', 'in', [...dead]).execute()
      const other = await tx.selectFrom('CacheNode').select('node').where('node', '!=', node).executeTakeFirst()
      const { mode, holdMs } = await readEpoch(tx)
      // A start is no flap, and does not end what others wait for.
      const hold = other !== undefined && mode === 'off' ? holdMs : 0
      await writeEpoch(tx, { name, mode: 'off', runId: null, reason: 'a process has started', changedAt: now(), holdMs: hold })
      await enter(tx, node, name)
    }),
    trip: (node, seen, name, reason) => transact(async tx => {
      const row = await readEpoch(tx)
      if (row.name !== seen || row.mode === 'off') return
      await writeEpoch(tx, { name, mode: 'off', runId: null, reason, changedAt: now(), ...toHold(row, now()) })
      await tx.updateTable('CacheNode').set(({ eb }) => ({ epoch: name, mode: 'off', runId: null, beat: eb('beat', '+', 1) }))
        .where('node', '=', node).execute()
    }),
    acknowledge: (node, what) => transact(async tx => {
      await tx.updateTable('CacheNode').set(({ eb }) => ({ ...what, beat: eb('beat', '+', 1) })).where('node', '=', node).execute()
    }),
    advance: ({ name, mode }, next, runId) => transact(async tx => {
      const row = await readEpoch(tx)
      if (row.name === name && row.mode === mode) await writeEpoch(tx, { mode: next, runId, reason: null, changedAt: now() })
    }),
    evict: nodes => transact(async tx => {
      for (const { node, beat } of nodes) {
        await tx.updateTable('CacheNode').set({ isGone: 1 }).where('node', '=', node).where('beat', '=', beat).execute()
      }
    }),
    remove: nodes => transact(async tx => {
      for (const { node, beat } of nodes) {
        await tx.deleteFrom('CacheNode').where('node', '=', node).where('beat', '=', beat).where('isGone', '=', 1).execute()
      }
    }),
    leave: node => transact(async tx => { await tx.deleteFrom('CacheNode').where('node', '=', node).execute() })
  }
}
