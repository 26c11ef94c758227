import { type Kysely, sql } from 'kysely'
import type { EpochRow, EpochRowStore, NodeRow } from '../../store.ts'
import type { Tables } from '../../tables.ts'
import { DatabaseReplaced, toStoreFailure } from '../failures.ts'
import { identity } from '../identity.ts'

/**
 * `epoch`: connections of its own, which answer or fail within 500 ms. `identity`: that of the history to which the
 * views of this process belong, `incarnation`: that of its versions. `onReplaced` is called once, when a primary with
 * another one has answered.
 */
export type EpochReaderNeeds = { epoch: Kysely<Tables>, identity: string, incarnation: string, onReplaced: () => void }

type JoinedNode = Omit<NodeRow, 'epoch' | 'mode' | 'runId'> &
  { nodeEpoch: string, nodeMode: NodeRow['mode'], nodeRunId: string | null }

/** A row for each process, or one without a process. */
type JoinedRow = EpochRow & { identity: string | null, incarnation: string | null } & (JoinedNode | { node: null })

// One statement, and so one snapshot.
const readRows = sql<JoinedRow>`
  SELECT ${identity} AS identity, (SELECT value FROM ServiceState WHERE name = 'incarnation') AS incarnation,
    epoch.name, epoch.mode, epoch.runId AS "runId", epoch.reason,
    epoch.changedAt AS "changedAt", epoch.holdMs AS "holdMs", epoch.flaps, node.node, node.epoch AS "nodeEpoch",
    node.mode AS "nodeMode", node.runId AS "nodeRunId", node.beat, node.isGone AS "isGone"
  FROM CacheEpoch AS epoch LEFT JOIN CacheNode AS node ON true ORDER BY node.node`

// An operator has renewed the incarnation: to this process, it is another database.
const toIdentity = (found: Pick<JoinedRow, 'identity' | 'incarnation'>, incarnation: string): string | null =>
  found.identity === null || found.incarnation === incarnation
    ? found.identity
    : `${found.identity} with another incarnation`

/**
 * Reads the epoch and the processes, together with the identity of the database: a promoted standby may have rows of
 * before the epoch that this process has seen. Rejects with STORE_UNAVAILABLE, caused by DatabaseReplaced where it is
 * another one.
 */
export const createReadEpochRows = (
  { epoch, identity: own, incarnation, onReplaced }: EpochReaderNeeds
): EpochRowStore['read'] => {
  let isReplaced = false
  const requireSame = (found: string | null): void => {
    if (found === own) return
    if (found !== null && !isReplaced) {
      isReplaced = true
      onReplaced()
    }
    throw new DatabaseReplaced(own, found)
  }
  const read = async () => {
    const { rows } = await readRows.execute(epoch)
    const [first] = rows
    if (first === undefined) throw new Error('CacheEpoch is empty')
    requireSame(toIdentity(first, incarnation))
    const { name, mode, runId, reason, changedAt, holdMs, flaps } = first
    const nodes = rows.flatMap(row => row.node === null
      ? []
      : [{
          node: row.node,
          epoch: row.nodeEpoch,
          mode: row.nodeMode,
          runId: row.nodeRunId,
          beat: row.beat,
          isGone: row.isGone
        }])
    return { epoch: { name, mode, runId, reason, changedAt, holdMs, flaps }, nodes }
  }
  return () => read().catch((error: unknown) => { throw toStoreFailure(error) })
}
