import type { EpochRow, EpochRowStore, Transact, Tx } from '../store.ts'

/*
 * The rows by which the processes on one database agree about their cache. What they mean: status/shared-epoch.ts. Here
 * is only what has to be one transaction.
 */

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

/** `now` in ms since 1970. */
export const createEpochRowStore = ({ read, transact, now }: { read: EpochRowStore['read'], transact: Transact, now: () => number }): EpochRowStore => {
  const enter = async (tx: Tx, node: string, epoch: string) => {
    await tx.insertInto('CacheNode').values({ node, epoch, mode: 'off', runId: null, beat: 1, isGone: 0 })
      .onConflict(conflict => conflict.column('node').doUpdateSet(({ eb }) =>
        ({ epoch, mode: 'off', runId: null, beat: eb('CacheNode.beat', '+', 1), isGone: 0 })))
      .execute()
  }
  return {
    read,
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
