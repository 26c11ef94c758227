import type { Change, ChangeLog } from '../store.ts'
import type { Database } from './database.ts'
import { guardRead } from './transact.ts'

export const createChangeLog = ({ database }: { database: Database }): ChangeLog => {
  const { reader, writer } = database
  // The sequence itself, not the log's last row: the log is pruned.
  const head = reader.prepare("SELECT seq FROM sqlite_sequence WHERE name = 'JobChange'").pluck()
  const oldest = reader.prepare(
    writer.selectFrom('JobChange').select('version').orderBy('version').limit(1).compile().sql
  ).pluck()
  const after = reader.prepare<[number, number], Change>(
    writer.selectFrom('JobChange').select(['version', 'jobId']).where('version', '>', 0).orderBy('version').limit(0).compile().sql
  )
  const dataVersion = reader.prepare('PRAGMA data_version').pluck()
  return {
    head: () => guardRead(() => Number(head.get() ?? 0)),
    oldest: () => guardRead(() => oldest.get(1) as number | undefined),
    after: (version, limit) => guardRead(() => after.all(version, limit)),
    dataVersion: () => guardRead(() => Number(dataVersion.get())),
    prune: async (tx, before, limit) => {
      // In the order of the versions: a search by time would read every younger change.
      const oldest = tx.selectFrom('JobChange').select(['version', 'at']).orderBy('version').limit(limit)
      const old = tx.selectFrom(oldest.as('oldest')).select('version').where('at', '<', before)
      const { numDeletedRows } = await tx.deleteFrom('JobChange').where('version', 'in', old).executeTakeFirst()
      return Number(numDeletedRows)
    }
  }
}
