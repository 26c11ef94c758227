import { sql } from 'kysely'
import type { JobReader } from '../../store.ts'
import { attemptsQuery, toAttempt } from '../../tx/runs/attempts.ts'
import { callbacksQuery } from '../../tx/callbacks.ts'
import { findInput } from '../../tx/inputs.ts'
import { findJob } from '../../tx/jobs.ts'
import type { Database } from '../database.ts'
import { createGather, type GatherLimits } from '../../gather.ts'
import { createStatement, readSnapshot } from '../reads.ts'
import { createFindJobs } from './find-jobs.ts'

// Two connections of the readers' four are enough for all point reads.
const limits: GatherLimits = { atOnceMax: 2, askedMax: 200 }

const gatherById = <Result>(read: (jobIds: string[]) => Promise<Result[]>) => createGather(read, jobId => jobId, limits)

/** Point reads of one turn of the event loop are one statement. */
export const createJobReader = ({ database: { reads } }: { database: Database }): Omit<JobReader, 'list'> => {
  const findGathered = gatherById(createFindJobs(reads))
  const versions = createStatement(reads, reads.selectFrom('JobExecutionLog').select(['jobId', 'version'])
    .where('jobId', '=', sql<string>`ANY(${[]}::text[])`))
  const findVersions = async (jobIds: readonly string[]): Promise<ReadonlyMap<string, number>> =>
    new Map((await versions(jobIds)).map(({ jobId, version }) => [jobId, version]))
  const findVersionGathered = gatherById(async jobIds => {
    const found = await findVersions(jobIds)
    return jobIds.map(jobId => found.get(jobId))
  })
  const ping = createStatement(reads, reads.selectFrom('ServiceState').select('value').limit(1))
  return {
    find: findGathered,
    findVersion: findVersionGathered,
    findVersions,
    findWithAttempts: jobId => readSnapshot(reads, async tx => ({
      lookup: await findJob(tx, jobId), attempts: (await attemptsQuery(tx, jobId).execute()).map(toAttempt)
    })),
    findWithInput: jobId => readSnapshot(reads, async tx => ({
      lookup: await findJob(tx, jobId), input: await findInput(tx, jobId)
    })),
    findWithCallbacks: jobId => readSnapshot(reads, async tx => ({
      lookup: await findJob(tx, jobId), callbacks: await callbacksQuery(tx, jobId).execute()
    })),
    ping: async () => { await ping(1) }
  }
}
