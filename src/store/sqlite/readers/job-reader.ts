import { sql } from 'kysely'
import type { Callback } from '../../../job/callbacks/callback.ts'
import type { JobLookup } from '../../../job/job.ts'
import { toTombstone, type TombstoneRow } from '../../records.ts'
import type { JobReader } from '../../store.ts'
import { type AttemptRow, attemptsQuery, toAttempt } from '../../tx/attempts.ts'
import { callbacksQuery } from '../../tx/callbacks.ts'
import { inputQuery, type InputRow, toInput } from '../../tx/inputs.ts'
import { tombstoneQuery } from '../../tx/jobs.ts'
import type { Database } from '../database.ts'
import { type RecordWithFacts, toRecord } from '../../record-query.ts'
import { guardRead } from '../transact.ts'
import { recordQuery } from './prepared-queries.ts'

/** Every statement is compiled and prepared once: to do both again would cost several times the read itself. */
export const createJobReader = ({ database }: { database: Database }): Omit<JobReader, 'list'> => {
  const { files, reader, writer } = database
  const findRecord = reader.prepare<[string], RecordWithFacts>(recordQuery(writer).compile().sql)
  const findTombstone = reader.prepare<[string], TombstoneRow>(tombstoneQuery(writer, '').compile().sql)
  const versionQuery = writer.selectFrom('JobExecutionLog').select('version').where('jobId', '=', '')
  const versionStatement = reader.prepare<[string], number>(versionQuery.compile().sql).pluck()
  const versionsStatement = reader.prepare<[string], { jobId: string, version: number }>(
    writer.selectFrom('JobExecutionLog').select(['jobId as jobId', 'version as version'])
      .where('jobId', 'in', sql<string>`(select value from json_each(${''}))`).compile().sql
  )
  const findInBoth = (jobId: string): JobLookup => {
    const row = findRecord.get(jobId)
    if (row !== undefined) return toRecord(row)
    const tombstone = findTombstone.get(jobId)
    return tombstone === undefined ? { kind: 'absent', jobId } : toTombstone(tombstone)
  }
  const findAttempts = reader.prepare<[string], AttemptRow>(attemptsQuery(writer, '').compile().sql)
  const findWithAttempts = reader.transaction((jobId: string) =>
    ({ lookup: findInBoth(jobId), attempts: findAttempts.all(jobId).map(toAttempt) }))
  const findInput = reader.prepare<[string], InputRow>(inputQuery(writer, '').compile().sql)
  const findWithInput = reader.transaction((jobId: string) => {
    const input = findInput.get(jobId)
    return { lookup: findInBoth(jobId), input: input === undefined ? undefined : toInput(input) }
  })
  const findCallbacks = reader.prepare<[string, number], Callback>(callbacksQuery(writer, '').compile().sql)
  const findWithCallbacks = reader.transaction((jobId: string) =>
    ({ lookup: findInBoth(jobId), callbacks: findCallbacks.all(jobId, 0) }))
  // One snapshot for both tables: a row that is deleted between two reads would look as if it had never existed.
  const findInSnapshot = reader.transaction(findInBoth)
  const pingStatement = reader.prepare('SELECT value FROM ServiceState LIMIT 1')
  return {
    find: async jobId => guardRead(database, () => {
      const row = findRecord.get(jobId)
      return row === undefined ? findInSnapshot(jobId) : toRecord(row)
    }),
    findWithAttempts: async jobId => guardRead(database, () => findWithAttempts(jobId)),
    findWithInput: async jobId => guardRead(database, () => findWithInput(jobId)),
    findWithCallbacks: async jobId => guardRead(database, () => findWithCallbacks(jobId)),
    findVersion: async jobId => guardRead(database, () => versionStatement.get(jobId)),
    findVersions: async jobIds => guardRead(database, () => {
      const rows = versionsStatement.all(JSON.stringify(jobIds))
      return new Map(rows.map(({ jobId, version }) => [jobId, version]))
    }),
    // Looks at the files themselves: a database that was put back is noticed, too.
    ping: async () => { guardRead({ files: { requireFound: files.check } }, () => pingStatement.get()) }
  }
}
