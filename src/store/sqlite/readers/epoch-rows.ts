import type { EpochRow, EpochRowStore, NodeRow } from '../../store.ts'
import type { Database } from '../database.ts'
import { guardRead } from '../transact.ts'

type JoinedRow = EpochRow & {
  node: string | null
  nodeEpoch: string
  nodeMode: NodeRow['mode']
  nodeRunId: string | null
  beat: number
  isGone: number
}

/** Reads the epoch and the processes in one statement, so that both are of one moment. */
export const createReadEpochRows = (database: Database): EpochRowStore['read'] => {
  const { reader, writer } = database
  const { sql } = writer.selectFrom('CacheEpoch').leftJoin('CacheNode', join => join.onTrue()).select([
    'name', 'CacheEpoch.mode', 'CacheEpoch.runId', 'reason', 'changedAt', 'holdMs', 'flaps',
    'node', 'epoch as nodeEpoch', 'CacheNode.mode as nodeMode', 'CacheNode.runId as nodeRunId', 'beat', 'isGone'
  ]).compile()
  const statement = reader.prepare<[], JoinedRow>(sql)
  return async () => guardRead(database, () => {
    const rows = statement.all()
    const [first] = rows
    if (first === undefined) throw new Error('CacheEpoch is empty')
    const { name, mode, runId, reason, changedAt, holdMs, flaps } = first
    const nodes = rows.flatMap(({ node, nodeEpoch, nodeMode, nodeRunId, beat, isGone }) =>
      node === null ? [] : [{ node, epoch: nodeEpoch, mode: nodeMode, runId: nodeRunId, beat, isGone }])
    return { epoch: { name, mode, runId, reason, changedAt, holdMs, flaps }, nodes }
  })
}
