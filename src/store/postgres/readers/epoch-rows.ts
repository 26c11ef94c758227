import { sql } from 'kysely'
import { keepStatement } from '../../sql/dialect.ts'
import type { EpochRow, EpochRowStore, NodeRow } from '../../store.ts'
import { asProbe } from '../connection/circuit.ts'
import type { Database } from '../database.ts'
import { toStoreFailure } from '../failures.ts'
import { identity } from '../identity/identity.ts'
import { type ServerClock, serverMs } from '../server-clock.ts'

/**
 * `database.epoch`: connections for this read alone, on which a statement answers or fails within 500 ms.
 * `incarnation`: the one with which this process opened the database. `observe` is called with the time of the server's
 * clock; `ownNow` in ms since 1970.
 */
export type EpochReaderNeeds = {
  database: Pick<Database, 'epoch' | 'requireIdentity' | 'circuit'>
  incarnation: string
  observe: ServerClock['observe']
  ownNow: () => number
  /** ms of a clock that only goes forward. */
  monotonicNow: () => number
}

type JoinedNode = Omit<NodeRow, 'epoch' | 'mode' | 'runId'> &
  { nodeEpoch: string, nodeMode: NodeRow['mode'], nodeRunId: string | null }

/** A row for each process, or one without a process. */
type JoinedRow = EpochRow & { identity: string | null, incarnation: string | null, serverMs: number } &
  (JoinedNode | { node: null })

// One statement, and so one snapshot.
const rowsStatement = keepStatement(() => sql<JoinedRow>`
  SELECT ${identity} AS identity, (SELECT value FROM ServiceState WHERE name = 'incarnation') AS incarnation,
    ${serverMs} AS "serverMs",
    epoch.name, epoch.mode, epoch.runId AS "runId", epoch.reason,
    epoch.changedAt AS "changedAt", epoch.holdMs AS "holdMs", epoch.flaps, node.node, node.epoch AS "nodeEpoch",
    node.mode AS "nodeMode", node.runId AS "nodeRunId", node.beat, node.isGone AS "isGone"
  FROM CacheEpoch AS epoch LEFT JOIN CacheNode AS node ON true ORDER BY node.node`)

// An operator has renewed the incarnation: to this process, it is another database.
const toIdentity = (found: Pick<JoinedRow, 'identity' | 'incarnation'>, incarnation: string): string | null =>
  found.identity === null || found.incarnation === incarnation
    ? found.identity
    : `${found.identity} with another incarnation`

/**
 * Reads the epoch and the processes, together with the identity of the database: a table that was made again has other
 * rows, on the connections that there are. Rejects with STORE_UNAVAILABLE, caused by DatabaseReplaced where it is
 * another one. The read is also what finds out whether the server answers at all.
 */
export const createReadEpochRows = (
  { database, incarnation, observe, ownNow, monotonicNow }: EpochReaderNeeds
): EpochRowStore['read'] => {
  const probe = asProbe(() => rowsStatement(database.epoch, {}), { circuit: database.circuit, monotonicNow })
  const read = async () => {
    const askedAt = ownNow()
    const { rows } = await probe()
    const [first] = rows
    if (first === undefined) throw new Error('CacheEpoch is empty')
    observe(first.serverMs, { askedAt, answeredAt: ownNow() })
    database.requireIdentity(toIdentity(first, incarnation))
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
