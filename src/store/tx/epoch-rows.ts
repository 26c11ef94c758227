import { isPostgres } from '../sql/dialect.ts'
import type { Acknowledgement, EpochRow, NodeRow, Tx } from '../store.ts'

/*
 * The writes of EpochRowStore. Each that depends on the row locks it first, so that nothing changes between its read and
 * the write. On SQLite only one transaction writes.
 */

const holdMsMin = 100
const holdMsMax = 2000
// After a failure the cache stays off for holdMsMin if it was on for at least this long before; otherwise for twice as
// long as the last time, at most holdMsMax.
const provenMs = 10_000

const toHold = ({ mode, changedAt, flaps }: EpochRow, at: number): Pick<EpochRow, 'flaps' | 'holdMs'> => {
  const isProven = mode === 'on' && at - changedAt >= provenMs
  if (isProven) return { flaps: 1, holdMs: holdMsMin }
  return { flaps: Math.min(flaps + 1, 10), holdMs: Math.min(holdMsMax, holdMsMin * 2 ** flaps) }
}

const epochColumns = ['name', 'mode', 'runId', 'reason', 'changedAt', 'holdMs', 'flaps'] as const

const lockEpoch = async (tx: Tx): Promise<EpochRow> => {
  const epoch = tx.selectFrom('CacheEpoch').select(epochColumns)
  return await (isPostgres(tx) ? epoch.forUpdate() : epoch).executeTakeFirstOrThrow()
}

const writeEpoch = async (tx: Tx, row: Partial<EpochRow>): Promise<void> => {
  await tx.updateTable('CacheEpoch').set(row).execute()
}

const enter = async (tx: Tx, node: string, epoch: string): Promise<void> => {
  await tx.insertInto('CacheNode').values({ node, epoch, mode: 'off', runId: null, beat: 1, isGone: 0 })
    .onConflict(conflict => conflict.column('node').doUpdateSet(({ eb }) =>
      ({ epoch, mode: 'off', runId: null, beat: eb('CacheNode.beat', '+', 1), isGone: 0 })))
    .execute()
}

/** `at` in ms since 1970. */
export const joinEpoch = async (
  tx: Tx, node: string, name: string, stale: readonly string[], at: number
): Promise<void> => {
  const { mode, holdMs } = await lockEpoch(tx)
  if (stale.length > 0) await tx.deleteFrom('CacheNode').where('node', 'in', [...stale]).execute()
  const other = await tx.selectFrom('CacheNode').select('node').where('node', '!=', node).executeTakeFirst()
  // A start is no failure of the cache, and does not shorten the hold that other processes wait for.
  const hold = other !== undefined && mode === 'off' ? holdMs : 0
  await writeEpoch(tx, { name, mode: 'off', runId: null, reason: 'a process has started', changedAt: at, holdMs: hold })
  await enter(tx, node, name)
}

/** `at` in ms since 1970. */
export const tripEpoch = async (
  tx: Tx, node: string, seen: string, name: string, reason: string, at: number
): Promise<void> => {
  const row = await lockEpoch(tx)
  if (row.name !== seen || row.mode === 'off') return
  await writeEpoch(tx, { name, mode: 'off', runId: null, reason, changedAt: at, ...toHold(row, at) })
  await acknowledgeEpoch(tx, node, { epoch: name, mode: 'off', runId: null })
}

export const acknowledgeEpoch = async (tx: Tx, node: string, what: Acknowledgement): Promise<void> => {
  await tx.updateTable('CacheNode').set(({ eb }) => ({
    ...what, beat: eb('beat', '+', 1)
  })).where('node', '=', node).execute()
}

/** `at` in ms since 1970. */
export const advanceEpoch = async (
  tx: Tx, seen: Pick<EpochRow, 'name' | 'mode'>, mode: 'warm' | 'on', runId: string, at: number
): Promise<void> => {
  const row = await lockEpoch(tx)
  if (row.name !== seen.name || row.mode !== seen.mode) return
  await writeEpoch(tx, { mode, runId, reason: null, changedAt: at })
}

export const evictNodes = async (tx: Tx, nodes: readonly NodeRow[]): Promise<void> => {
  for (const { node, beat } of nodes) {
    await tx.updateTable('CacheNode').set({ isGone: 1 }).where('node', '=', node).where('beat', '=', beat).execute()
  }
}

export const removeNodes = async (tx: Tx, nodes: readonly NodeRow[]): Promise<void> => {
  for (const { node, beat } of nodes) {
    await tx.deleteFrom('CacheNode').where('node', '=', node).where('beat', '=', beat).where('isGone', '=', 1).execute()
  }
}

export const leaveEpoch = async (tx: Tx, node: string): Promise<void> => {
  await tx.deleteFrom('CacheNode').where('node', '=', node).execute()
}
