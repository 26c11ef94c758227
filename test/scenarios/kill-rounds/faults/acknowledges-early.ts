import { setTimeout as delay } from 'node:timers/promises'
import { runService } from '../../../../src/lifecycle.ts'
import type { Transact } from '../../../../src/store/store.ts'
import { createRunJob } from '../../../../src/write/run-job.ts'

/*
 * A service that answers what a worker reports a little before it commits it.
 */

const acknowledgeEarly = (transact: Transact): Transact => work => new Promise((resolve, reject) => {
  transact(async tx => {
    resolve(await work(tx))
    await delay(40)
  }).catch(reject)
})

await runService({ parts: { createRunJob: needs => createRunJob({ ...needs, transact: acknowledgeEarly(needs.transact) }) } })
