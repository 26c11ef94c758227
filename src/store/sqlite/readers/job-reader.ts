import { sql } from 'kysely'
import type { Callback } from '../../../job/callbacks/callback.ts'
import type { JobLookup } from '../../../job/job.ts'
import { toTombstone, type TombstoneRow } from '../../records.ts'
import type { JobReader } from '../../store.ts'
import { type AttemptRow, attemptsQuery, toAttempt } from '../../tx/runs/attempts.ts'
import { callbacksQuery } from '../../tx/callbacks.ts'
import { inputQuery, type InputRow, toInput } from '../../tx/inputs.ts'
import { tombstoneQuery } from '../../tx/jobs.ts'
import { createGather, type GatherLimits } from '../../gather.ts'
import type { Database } from '../database.ts'
import { type RecordWithFacts, toRecord } from '../../sql/record-query.ts'
import { guardRead } from '../transact.ts'
import { recordQuery } from './prepared-queries.ts'

// A transaction of this many point reads blocks the event loop for a fifth of a millisecond.
const limits: GatherLimits = { atOnceMax: 1, askedMax: 50 }

/**
 * Point reads of one turn of the event loop share a transaction: to begin one, which takes locks on the file, costs three
 * times what a read does. If one of them fails, each is read by itself, because one page may be damaged.
 */
const createPointRead = <Result>(
  database: Database, read: (jobId: string) => Result
): ((jobId: string) => Promise<Result>) => {
  const readAll = database.reader.transaction((jobIds: string[]) => jobIds.map(jobId => ({ value: read(jobId) })))
  const readAlone = (jobId: string): { value: Result } | { error: unknown } => {
    try {
      return { value: guardRead(database, () => read(jobId)) }
    } catch (error) {
      return { error }
    }
  }
  const find = createGather(async (jobIds: string[]) => {
    if (jobIds.length === 1) return jobIds.map(readAlone)
    try {
      return guardRead(database, () => readAll(jobIds))
    } catch {
      return jobIds.map(readAlone)
    }
  }, jobId => jobId, limits)
  return async jobId => {
    const outcome = await find(jobId)
    if ('error' in outcome) throw outcome.error
    return outcome.value
  }
}

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
    find: createPointRead(database, jobId => {
      const row = findRecord.get(jobId)
      return row === undefined ? findInSnapshot(jobId) : toRecord(row)
    }),
    findWithAttempts: async jobId => guardRead(database, () => findWithAttempts(jobId)),
    findWithInput: async jobId => guardRead(database, () => findWithInput(jobId)),
    findWithCallbacks: async jobId => guardRead(database, () => findWithCallbacks(jobId)),
    findVersion: createPointRead(database, jobId => versionStatement.get(jobId)),
    findVersions: async jobIds => guardRead(database, () => {
      const rows = versionsStatement.all(JSON.stringify(jobIds))
      return new Map(rows.map(({ jobId, version }) => [jobId, version]))
    }),
    // Looks at the files themselves: a database that was put back is noticed, too.
    ping: async () => { guardRead({ files: { requireFound: files.check } }, () => pingStatement.get()) }
  }
}
