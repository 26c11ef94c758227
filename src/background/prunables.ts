import type { ChangeLog } from '../store/change-log.ts'
import { type ExpiryLook, type Origin, pruneOrphans, pruneRecords, pruneTombstones, type RecordCursor } from '../store/expiry.ts'
import { pruneIdempotencyKeys } from '../store/idempotency.ts'
import type { Transact } from '../store/transact.ts'
import type { ExpireResults } from '../write/expire-results.ts'
import type { Prunable } from './pruner.ts'

// Far longer than any relay lags behind.
const changeKeptMs = 3_600_000
// Chunks are large, a quarter of a megabyte: so many take as long as a few hundred rows.
const chunksAtOnceMax = 16

export type PrunablesNeeds = {
  transact: Transact
  changeLog: ChangeLog
  look: ExpiryLook
  expireResults: ExpireResults
  /** ms since 1970. */
  now: () => number
  idempotencyKeyKeptMs: number
  recordRetentionMs: number
  tombstoneRetentionMs: number
  pruneForeignRows: boolean
}

const createRecords = (origin: Origin, { transact, look, now, recordRetentionMs }: PrunablesNeeds): Prunable => {
  let cursor: RecordCursor | null = null
  const before = () => now() - recordRetentionMs
  return {
    kind: origin === 'ours' ? 'records' : 'foreign-records',
    isDue: () => look.hasDueRecords(origin, before()),
    prune: async limit => {
      const { looked, removed, next } = await pruneRecords(transact, origin, before(), limit, cursor)
      cursor = next
      return { looked, removed, isLast: next === null }
    }
  }
}

const counted = (prune: (limit: number) => Promise<number>): Prunable['prune'] => async limit => {
  const removed = await prune(limit)
  return { looked: removed, removed, isLast: removed === 0 }
}

/** All that gets too old: results before the records they belong to, and bytes after what referred to them. */
export const createPrunables = (needs: PrunablesNeeds): Prunable[] => {
  const { transact, changeLog, look, expireResults, now } = needs
  const changesBefore = () => now() - changeKeptMs
  const keysBefore = () => now() - needs.idempotencyKeyKeptMs
  const tombstonesBefore = () => now() - needs.tombstoneRetentionMs
  return [
    {
      kind: 'changes',
      isDue: () => look.hasOldChanges(changesBefore()),
      prune: counted(limit => changeLog.prune(changesBefore(), limit))
    },
    {
      kind: 'idempotency-keys',
      isDue: () => look.hasOldIdempotencyKeys(keysBefore()),
      prune: counted(limit => pruneIdempotencyKeys(transact, keysBefore(), limit))
    },
    { kind: 'results', isDue: () => look.hasDueResults(now()), prune: counted(expireResults) },
    createRecords('ours', needs),
    ...(needs.pruneForeignRows ? [createRecords('foreign', needs)] : []),
    {
      kind: 'tombstones',
      isDue: () => look.hasDueTombstones(tombstonesBefore()),
      prune: counted(limit => pruneTombstones(transact, tombstonesBefore(), limit))
    },
    {
      kind: 'bytes',
      isDue: () => look.hasOrphans(now()),
      prune: counted(limit => pruneOrphans(transact, now(), Math.min(limit, chunksAtOnceMax)))
    }
  ]
}
