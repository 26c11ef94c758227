import { randomUUID } from 'node:crypto'
import { createCallbacks } from '../background/callbacks/callbacks.ts'
import type { CallbackDelivery } from '../background/callbacks/delivery.ts'
import { createEmbeddedWorker } from '../background/worker.ts'
import { monotonicNow, schedule } from '../clocks.ts'
import { isTerminal } from '../job/job.ts'
import { embeddedHolder } from '../job/lease.ts'
import type { Store } from '../store/store.ts'
import { reportCallback, reportWorkerError } from './telemetry.ts'
import { createToCallbackBody } from '../views/callback-body.ts'
import type { Views } from '../views/views.ts'
import { createRedeliverCallback } from '../write/callbacks/redeliver-callback.ts'
import { createLongPollClaim } from '../write/runs/long-poll-claim.ts'
import { createCancelJob, createEraseJob } from '../write/cancel-and-erase.ts'
import { type Claim, createClaimJob } from '../write/runs/claim-job.ts'
import type { CommandNeeds, CommitNeeds } from '../write/commit.ts'
import { createExpireResults } from '../write/expire-results.ts'
import { createOutages, type Outages } from '../write/runs/outages.ts'
import { createRescueJobs } from '../write/runs/rescue-jobs.ts'
import { createStoreInput } from '../write/store-input.ts'
import { createSubmitJob } from '../write/submit-job.ts'
import { createUploads } from '../write/runs/uploads.ts'
import { randomId } from './parts.ts'
import type { PartNeeds } from './status-parts.ts'

/**
 * What an app passes on to the one that takes its place in the process: the runs of its embedded worker, and for how long
 * it could not commit.
 */
export type Handover = { claims: readonly Claim[], outages: Outages }

type CommandsNeeds = PartNeeds & Pick<CommitNeeds, 'expose' | 'onTransition'> & Pick<Views, 'toEntry'> &
  { predecessor: Handover | null }

const createDelivery = (
  { config, opened: { store }, log, metrics, toEntry }: CommandsNeeds, commandNeeds: CommandNeeds
): CallbackDelivery => createCallbacks({
  ...commandNeeds,
  callbacks: store.callbacks,
  toBody: createToCallbackBody({ toEntry }),
  allowed: config.callbackHostsAllowed,
  secrets: config.webhookSecrets,
  randomId,
  random: Math.random,
  schedule,
  onTried: reportCallback(metrics, log, store.now)
})

/** The commands that change jobs, with the embedded worker and the delivery of callbacks, which work through them. */
export const createCommands = (commandsNeeds: CommandsNeeds) => {
  const { parts, config, opened: { store, stale }, node, log, metrics, expose, onTransition, predecessor } = commandsNeeds
  const { now } = store
  const outages = predecessor?.outages ?? createOutages({ now })
  const transact: Store['transact'] = (work, group) => outages.observe(store.transact(work, group))
  const onChanged: CommitNeeds['onTransition'] = (job, event) => {
    onTransition(job, event)
    if (isTerminal(job)) callbacks.wake()
  }
  const needs = { commit: parts.createCommit({ transact, expose, onTransition: onChanged }), now }
  const callbacks = createDelivery(commandsNeeds, needs)
  const queueNeeds = { ...needs, queue: store.queue, randomId }
  const { resultRetentionMs, cancelGraceMs: graceMs } = config
  const rescueJobs = createRescueJobs({ ...queueNeeds, outages, graceMs })
  const runJob = parts.createRunJob({ ...needs, resultRetentionMs, graceMs })
  const claimJob = createClaimJob({ ...queueNeeds, release: runJob.release })
  const longPollClaim = createLongPollClaim({ claim: claimJob, release: runJob.release, monotonicNow, schedule })
  const worker = createEmbeddedWorker(config.databaseUrl, {
    claimJob,
    rescueJobs,
    runJob,
    slots: config.workers,
    holder: `${embeddedHolder}:${node}`,
    staleHolders: stale.holders,
    abandoned: predecessor?.claims ?? [],
    leaseMs: config.leaseMs,
    monotonicNow,
    schedule,
    onError: reportWorkerError(log, monotonicNow)
  })
  const onQueued = (type: string, tenant: string) => {
    metrics.jobsSubmitted.inc()
    worker.wake()
    longPollClaim.wake(type, tenant)
  }
  return {
    worker,
    handOver: (): Handover => ({ claims: worker.abandon(), outages }),
    callbacks,
    rescueJobs,
    expireResults: createExpireResults(needs),
    ofClients: {
      submitJob: createSubmitJob({
        ...needs, randomUuid: randomUUID, onSubmitting: worker.prepare, onQueued, onCallbackDue: callbacks.wake
      }),
      storeInput: createStoreInput({ ...needs, randomId, bytesMax: config.inputBytesMax }),
      cancelJob: createCancelJob({ ...needs, graceMs, onAsked: worker.cancel }),
      eraseJob: createEraseJob(needs),
      redeliverCallback: createRedeliverCallback({ ...needs, onDue: callbacks.wake }),
      longPollClaim,
      runJob,
      uploads: createUploads({ runJob, monotonicNow, read: store.results.read })
    }
  }
}
