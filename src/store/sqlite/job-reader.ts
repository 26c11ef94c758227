import { toJob, toLookup, type TombstoneRow } from '../records.ts'
import type { JobReader } from '../store.ts'
import type { JobRow } from '../tables.ts'
import { recordQuery, tombstoneQuery } from '../tx/jobs.ts'
import type { Database } from './database.ts'
import { guardRead } from './transact.ts'

/**
 * Kysely compiles the point read once, and one prepared statement is kept for it: building and preparing it anew
 * would cost several times the read itself.
 */
export const createJobReader = ({ database }: { database: Database }): JobReader => {
  const { reader, writer } = database
  const findSql = recordQuery(writer, '').compile().sql
  const findRecord = reader.prepare<[string], JobRow>(findSql)
  const findTombstone = reader.prepare<[string], TombstoneRow>(tombstoneQuery(writer, '').compile().sql)
  const versionQuery = writer.selectFrom('JobExecutionLog').select('version').where('jobId', '=', '')
  const versionStatement = reader.prepare<[string], number>(versionQuery.compile().sql).pluck()
  // One snapshot for both tables, or a row deleted between the two reads would look as if it had never been.
  const findBoth = reader.transaction((jobId: string) => toLookup(jobId, findRecord.get(jobId), findTombstone.get(jobId)))
  const pingStatement = reader.prepare('SELECT value FROM ServiceState WHERE name = ?').pluck()
  // Async, so that every failure is a rejection, and so that another database can take longer.
  return {
    find: async jobId => guardRead(() => {
      const row = findRecord.get(jobId)
      return row === undefined ? findBoth(jobId) : toJob(row)
    }),
    findVersion: async jobId => guardRead(() => versionStatement.get(jobId)),
    incarnation: () => String(pingStatement.get('incarnation')),
    ping: async () => { guardRead(() => pingStatement.get('incarnation')) },
    findSql
  }
}
