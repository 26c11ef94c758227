import type { ChangeLog } from '../store/change-log.ts'
import type { Origin, RetentionReader, Transact, Tx } from '../store/store.ts'
import { pruneIdempotencyKeys } from '../store/tx/idempotency.ts'
import { pruneOrphans, pruneRecords, pruneTombstones, type RecordCursor } from '../store/tx/retention.ts'
import type { ExpireResults } from '../write/expire-results.ts'
import type { PruneTask } from './pruner.ts'

// A chunk is a quarter of a megabyte: this many take as long as a few hundred rows.
const chunksAtOnceMax = 16

export type PruneTasksNeeds = {
  transact: Transact
  changes: Pick<ChangeLog, 'prune'>
  retention: RetentionReader
  expireResults: ExpireResults
  /** ms since 1970. */
  now: () => number
  idempotencyKeyKeptMs: number
  recordRetentionMs: number
  tombstoneRetentionMs: number
  changeRetentionMs: number
  pruneForeignRows: boolean
}

const createRecordsTask = (
  origin: Origin, { transact, retention, now, recordRetentionMs }: PruneTasksNeeds
): PruneTask => {
  let cursor: RecordCursor | null = null
  const before = () => now() - recordRetentionMs
  return {
    kind: origin === 'ours' ? 'records' : 'foreign-records',
    isDue: () => retention.hasDueRecords(origin, before()),
    prune: async limit => {
      const { examined, removed, next } = await transact(tx => pruneRecords(tx, origin, before(), limit, cursor))
      cursor = next
      return { examined, removed, isDone: next === null }
    }
  }
}

const counted = (prune: (limit: number) => Promise<number>): PruneTask['prune'] => async limit => {
  const removed = await prune(limit)
  return { examined: removed, removed, isDone: removed === 0 }
}

/** Everything that expires: results before their records, and bytes after the rows that refer to them. */
export const createPruneTasks = (needs: PruneTasksNeeds): PruneTask[] => {
  const { transact, changes, retention, expireResults, now } = needs
  const changesBefore = () => now() - needs.changeRetentionMs
  const keysBefore = () => now() - needs.idempotencyKeyKeptMs
  const tombstonesBefore = () => now() - needs.tombstoneRetentionMs
  const committed = (prune: (tx: Tx, limit: number) => Promise<number>) =>
    counted(limit => transact(tx => prune(tx, limit)))
  return [
    {
      kind: 'changes',
      isDue: () => retention.hasOldChanges(changesBefore()),
      prune: committed((tx, limit) => changes.prune(tx, changesBefore(), limit))
    },
    {
      kind: 'idempotency-keys',
      isDue: () => retention.hasOldIdempotencyKeys(keysBefore()),
      prune: committed((tx, limit) => pruneIdempotencyKeys(tx, keysBefore(), limit))
    },
    { kind: 'results', isDue: () => retention.hasDueResults(now()), prune: counted(expireResults) },
    createRecordsTask('ours', needs),
    ...(needs.pruneForeignRows ? [createRecordsTask('foreign', needs)] : []),
    {
      kind: 'tombstones',
      isDue: () => retention.hasDueTombstones(tombstonesBefore()),
      prune: committed((tx, limit) => pruneTombstones(tx, tombstonesBefore(), limit))
    },
    {
      kind: 'bytes',
      isDue: () => retention.hasOrphans(now()),
      prune: committed((tx, limit) => pruneOrphans(tx, now(), Math.min(limit, chunksAtOnceMax)))
    }
  ]
}
