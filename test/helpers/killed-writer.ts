import { openDatabase } from '../../src/store/sqlite/database.ts'
import { createTransact } from '../../src/store/sqlite/transact.ts'
import { createCommit } from '../../src/write/commit.ts'
import { createRunJob } from '../../src/write/runs/run-job.ts'

/*
 * A process that runs the service's own command on a database and is killed between its commit and its expose:
 * node killed-writer.ts DATABASE JOB LEASE_TOKEN
 */

const [, , path = '', jobId = '', leaseToken = ''] = process.argv
const database = openDatabase(path)
const commit = createCommit({
  transact: createTransact({ database, now: () => performance.now() }),
  expose: () => {
    process.kill(process.pid, 'SIGKILL')
    return new Promise(() => {})
  },
  onTransition: () => {}
})
const { progress } = createRunJob({ commit, now: () => Date.now(), resultRetentionMs: 1000, graceMs: 1000 })
await progress({ jobId, leaseToken }, { percent: 77 })
