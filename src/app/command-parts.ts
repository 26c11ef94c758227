import { randomUUID } from 'node:crypto'
import { createEmbeddedWorker } from '../background/worker.ts'
import { monotonicNow, now, schedule } from '../clocks.ts'
import { embeddedHolder } from '../job/lease.ts'
import type { Store } from '../store/store.ts'
import { reportWorkerError } from '../telemetry.ts'
import { createLongPollClaim } from '../write/long-poll-claim.ts'
import { createCancelJob, createEraseJob } from '../write/cancel-and-erase.ts'
import { createClaimJob } from '../write/claim-job.ts'
import type { CommitNeeds } from '../write/commit.ts'
import { createExpireResults } from '../write/expire-results.ts'
import { createOutages } from '../write/outages.ts'
import { createRescueJobs } from '../write/rescue-jobs.ts'
import { createStoreInput } from '../write/store-input.ts'
import { createSubmitJob } from '../write/submit-job.ts'
import { createUploads } from '../write/uploads.ts'
import { randomId } from './parts.ts'
import type { PartNeeds } from './status-parts.ts'

type CommandsNeeds = PartNeeds & Pick<CommitNeeds, 'expose' | 'onTransition'>

/** The commands that change jobs, and the embedded worker, which runs jobs through them. */
export const createCommands = ({
  parts, config, opened: { store, stale }, node, log, metrics, expose, onTransition
}: CommandsNeeds) => {
  const outages = createOutages({ now })
  const transact: Store['transact'] = work => outages.observe(store.transact(work))
  const needs = { commit: parts.createCommit({ transact, expose, onTransition }), now }
  const queueNeeds = { ...needs, queue: store.queue, randomId }
  const { resultRetentionMs, cancelGraceMs: graceMs } = config
  const rescueJobs = createRescueJobs({ ...queueNeeds, outages, graceMs })
  const runJob = parts.createRunJob({ ...needs, resultRetentionMs, graceMs })
  const claimJob = createClaimJob({ ...queueNeeds, release: runJob.release })
  const longPollClaim = createLongPollClaim({ claim: claimJob, release: runJob.release, monotonicNow, schedule })
  const worker = createEmbeddedWorker(config.databasePath, {
    claimJob,
    rescueJobs,
    runJob,
    slots: config.workers,
    holder: `${embeddedHolder}:${node}`,
    staleHolders: stale.holders,
    leaseMs: config.leaseMs,
    monotonicNow,
    onError: reportWorkerError(log, monotonicNow)
  })
  const onQueued = (type: string, tenant: string) => {
    metrics.jobsSubmitted.inc()
    worker.wake()
    longPollClaim.wake(type, tenant)
  }
  return {
    worker,
    rescueJobs,
    expireResults: createExpireResults(needs),
    ofClients: {
      submitJob: createSubmitJob({ ...needs, randomUuid: randomUUID, onQueued }),
      storeInput: createStoreInput({ ...needs, randomId, bytesMax: config.inputBytesMax }),
      cancelJob: createCancelJob({ ...needs, graceMs, onAsked: worker.cancel }),
      eraseJob: createEraseJob(needs),
      longPollClaim,
      runJob,
      uploads: createUploads({ runJob, monotonicNow, read: store.results.read })
    }
  }
}
