import type { Kysely } from 'kysely'
import { toIso } from '../../../job/time.ts'
import type { RetentionReader } from '../../store.ts'
import type { Tables } from '../../tables.ts'
import { dueIdempotencyKeys, dueOrphans, dueRecords, dueResults, dueTombstones } from '../../tx/retention.ts'
import type { Database } from '../database.ts'
import { guardRead } from '../transact.ts'

// In the order of the versions: the log has no index by time.
const dueChanges = (db: Kysely<Tables>, before: number) => db
  .selectFrom(db.selectFrom('JobChange').select('at').orderBy('version').limit(1).as('oldest'))
  .select('at').where('at', '<', before)

export const createRetentionReader = ({ database }: { database: Database }): RetentionReader => {
  const { reader, writer } = database
  const finds = async (query: { compile: () => { sql: string, parameters: readonly unknown[] } }): Promise<boolean> => {
    const { sql, parameters } = query.compile()
    return guardRead(database, () => reader.prepare(sql).get(...parameters) !== undefined)
  }
  return {
    hasDueResults: at => finds(dueResults(writer, toIso(at), 1)),
    hasDueRecords: (origin, before) => finds(dueRecords(writer, origin, before, 1)),
    hasDueTombstones: before => finds(dueTombstones(writer, toIso(before), 1)),
    hasOrphans: at => finds(dueOrphans(writer, at)),
    hasOldChanges: before => finds(dueChanges(writer, before)),
    hasOldIdempotencyKeys: before => finds(dueIdempotencyKeys(writer, before))
  }
}
