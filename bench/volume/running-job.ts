import { createViews } from '../../src/views/views.ts'
import { openDatabase } from '../../src/store/sqlite/database.ts'
import { migrate } from '../../src/store/sqlite/migrations/migrate.ts'
import { createQueueReader } from '../../src/store/sqlite/readers/queue-reader.ts'
import { createTransact } from '../../src/store/sqlite/transact.ts'
import { createClaimJob } from '../../src/write/runs/claim-job.ts'
import { createCommit } from '../../src/write/commit.ts'
import { createRunJob } from '../../src/write/runs/run-job.ts'
import { createSubmitJob } from '../../src/write/submit-job.ts'

const kind = { contentType: 'application/octet-stream', fileName: 'result.bin' }
const dayMs = 24 * 3600 * 1000

/** Creates a running job in a new database, before a service opens it. `complete` closes the database. */
export const runningJob = async (databasePath: string) => {
  const database = openDatabase(databasePath)
  await migrate(database.writer)
  const transact = createTransact({ database, now: () => performance.now() })
  const { toEntry } = createViews({ publicUrl: null, onInvalid: () => {} })
  let ids = 0
  const commit = createCommit({ transact, expose: async lookup => toEntry(lookup), onTransition: () => {} })
  const needs = { commit, now: () => Date.now() }
  const submitJob = createSubmitJob({ ...needs, randomUuid: () => `job-${++ids}`, onQueued: () => {} })
  const runJob = createRunJob({ ...needs, graceMs: dayMs, resultRetentionMs: dayMs })
  const claimJob = createClaimJob({
    ...needs,
    release: runJob.release,
    queue: createQueueReader({ database }),
    randomId: () => `lease-${++ids}`
  })
  const requester = { subject: 'bench', tenant: 'bench', allTenants: false }
  const { jobId } = await submitJob(requester, { type: 'bench', input: null }, null)
  const lease = await claimJob({ types: ['bench'], tenant: null }, 'bench', dayMs)
  if (lease === null) throw new Error('the job could not be claimed')
  return {
    jobId,
    append: (offset: number, bytes: Uint8Array) => runJob.append(lease, offset, bytes, kind),
    complete: async (facts: { sizeBytes: number, sha256: string }) => {
      await runJob.complete(lease, { kind: 'appended', facts: { ...kind, ...facts, inlineJson: null } })
      await database.close()
    }
  }
}
