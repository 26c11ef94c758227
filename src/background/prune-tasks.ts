import type { ChangeLog, RetentionReader, Origin, Transact } from '../store/store.ts'
import { pruneOrphans, pruneRecords, pruneTombstones, type RecordCursor } from '../store/tx/retention.ts'
import { pruneIdempotencyKeys } from '../store/tx/idempotency.ts'
import type { ExpireResults } from '../write/expire-results.ts'
import type { PruneTask } from './pruner.ts'

// Far longer than any relay lags behind.
const changeKeptMs = 3_600_000
// Chunks are large, a quarter of a megabyte: so many take as long as a few hundred rows.
const chunksAtOnceMax = 16

export type PruneTasksNeeds = {
  transact: Transact
  changeLog: ChangeLog
  retention: RetentionReader
  expireResults: ExpireResults
  /** ms since 1970. */
  now: () => number
  idempotencyKeyKeptMs: number
  recordRetentionMs: number
  tombstoneRetentionMs: number
  pruneForeignRows: boolean
}

const createRecords = (origin: Origin, { transact, retention, now, recordRetentionMs }: PruneTasksNeeds): PruneTask => {
  let cursor: RecordCursor | null = null
  const before = () => now() - recordRetentionMs
  return {
    kind: origin === 'ours' ? 'records' : 'foreign-records',
    isDue: () => retention.hasDueRecords(origin, before()),
    prune: async limit => {
      const { examined, removed, next } = await pruneRecords(transact, origin, before(), limit, cursor)
      cursor = next
      return { examined, removed, isDone: next === null }
    }
  }
}

const counted = (prune: (limit: number) => Promise<number>): PruneTask['prune'] => async limit => {
  const removed = await prune(limit)
  return { examined: removed, removed, isDone: removed === 0 }
}

/** All that gets too old: results before the records they belong to, and bytes after what referred to them. */
export const createPruneTasks = (needs: PruneTasksNeeds): PruneTask[] => {
  const { transact, changeLog, retention, expireResults, now } = needs
  const changesBefore = () => now() - changeKeptMs
  const keysBefore = () => now() - needs.idempotencyKeyKeptMs
  const tombstonesBefore = () => now() - needs.tombstoneRetentionMs
  return [
    {
      kind: 'changes',
      isDue: () => retention.hasOldChanges(changesBefore()),
      prune: counted(limit => changeLog.prune(changesBefore(), limit))
    },
    {
      kind: 'idempotency-keys',
      isDue: () => retention.hasOldIdempotencyKeys(keysBefore()),
      prune: counted(limit => pruneIdempotencyKeys(transact, keysBefore(), limit))
    },
    { kind: 'results', isDue: () => retention.hasDueResults(now()), prune: counted(expireResults) },
    createRecords('ours', needs),
    ...(needs.pruneForeignRows ? [createRecords('foreign', needs)] : []),
    {
      kind: 'tombstones',
      isDue: () => retention.hasDueTombstones(tombstonesBefore()),
      prune: counted(limit => pruneTombstones(transact, tombstonesBefore(), limit))
    },
    {
      kind: 'bytes',
      isDue: () => retention.hasOrphans(now()),
      prune: counted(limit => pruneOrphans(transact, now(), Math.min(limit, chunksAtOnceMax)))
    }
  ]
}
