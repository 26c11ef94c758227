import { setTimeout as delay } from 'node:timers/promises'
import { runService } from '../../../../src/serve/run-service.ts'
import type { Transact } from '../../../../src/store/store.ts'
import { type Commit, createCommit } from '../../../../src/write/commit.ts'
import { createRunJob } from '../../../../src/write/runs/run-job.ts'

/*
 * A service that answers a worker's reports a little before it commits them.
 */

const acknowledgeEarly = (transact: Transact): Transact => work => new Promise((resolve, reject) => {
  transact(async tx => {
    resolve(await work(tx))
    await delay(40)
  }).catch(reject)
})

let earlyCommit: Commit | undefined

await runService({
  parts: {
    createCommit: needs => {
      earlyCommit = createCommit({ ...needs, transact: acknowledgeEarly(needs.transact) })
      return createCommit(needs)
    },
    createRunJob: needs => {
      if (earlyCommit === undefined) throw new Error('the commit is created before the commands')
      return createRunJob({ ...needs, commit: earlyCommit })
    }
  }
})
