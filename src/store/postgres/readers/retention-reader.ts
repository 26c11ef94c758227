import { toIso } from '../../../job/time.ts'
import type { RetentionReader } from '../../store.ts'
import { dueIdempotencyKeys, dueOrphans, dueRecords, dueResults, dueTombstones } from '../../tx/retention.ts'
import { hasOldChanges } from '../change-log.ts'
import type { Database } from '../database.ts'
import { guardRead } from '../reads.ts'

export const createRetentionReader = ({ database: { reads } }: { database: Database }): RetentionReader => {
  const finds = (query: { executeTakeFirst: () => Promise<unknown> }): Promise<boolean> =>
    guardRead(async () => await query.executeTakeFirst() !== undefined)
  return {
    hasDueResults: at => finds(dueResults(reads, toIso(at), 1)),
    hasDueRecords: (origin, before) => finds(dueRecords(reads, origin, before, 1)),
    hasDueTombstones: before => finds(dueTombstones(reads, toIso(before), 1)),
    hasOrphans: at => finds(dueOrphans(reads, at)),
    hasOldChanges: before => guardRead(() => hasOldChanges(reads, before)),
    hasOldIdempotencyKeys: before => finds(dueIdempotencyKeys(reads, before))
  }
}
