import type { LeaseHeld } from '../job/lease.ts'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Job } from '../job/job.ts'
import type { JobEventType } from '../job/lifecycle.ts'
import type { Expose } from '../status/expose.ts'
import { findJob } from '../store/tx/jobs.ts'
import { findInput } from '../store/tx/inputs.ts'
import type { RawInput, QueueItem, QueueReader, ClaimFilter, Transact, Tx } from '../store/store.ts'
import { dequeue, nextAvailable, setLease, setQueueTenant } from '../store/tx/queue.ts'
import { discardChunks } from '../store/tx/results.ts'
import { applyEvent, reconcileForeignChange } from './apply-event.ts'

/** A job to run. `input` and `access` are JSON text; `timeoutMs` bounds this one run; times in ms since 1970. */
export type Claim = LeaseHeld & {
  type: string
  input: string
  access: string
  raw: RawInput | null
  attempt: number
  timeoutMs: number | null
  leaseExpiresAt: number
}

/**
 * Takes the job within reach that has waited longest, for `holder` and for so long; null: there is none. Throws
 * STORE_UNAVAILABLE.
 */
export type ClaimJob = (reach: ClaimFilter, holder: string, leaseMs: number) => Promise<Claim | null>

export type ClaimJobNeeds = {
  transact: Transact
  queue: QueueReader
  expose: Expose
  randomId: () => string
  /** ms since 1970. */
  now: () => number
  /** Puts a claimed job back into the queue. */
  release: (lease: LeaseHeld) => Promise<unknown>
  /** Told of every change of state once it is committed and exposed. */
  onTransition: (job: Job, event: JobEventType) => void
}

const chunksAtOnceMax = 16
// Jobs that other programs have ended or moved, put right in one transaction.
const reconciledAtOnceMax = 10

type Found = { job: Job, claim: Claim }

// Another program may have given the job to another tenant.
const isWithin = async (tx: Tx, { jobId }: QueueItem, { tenant }: ClaimFilter): Promise<boolean> => {
  if (tenant === null) return true
  const lookup = await findJob(tx, jobId)
  if (lookup.kind !== 'job' || lookup.job.tenant === tenant) return true
  await setQueueTenant(tx, jobId, lookup.job.tenant)
  return false
}

export const createClaimJob = ({ transact, queue, expose, randomId, now, release, onTransition }: ClaimJobNeeds): ClaimJob => {
  const claimOne = async (tx: Tx, item: QueueItem, reach: ClaimFilter, holder: string, leaseMs: number): Promise<Found | undefined> => {
    const { jobId, type, timeoutMs } = item
    const input = await findInput(tx, jobId)
    if (input === undefined) {
      await dequeue(tx, jobId)
      return undefined
    }
    if (!await isWithin(tx, item, reach)) return undefined
    const lookup = await applyEvent(tx, item, { type: 'claim', at: now() }, now())
    if (lookup?.kind !== 'job') {
      await reconcileForeignChange(tx, jobId, now())
      return undefined
    }
    const { job } = lookup
    const leaseToken = randomId()
    const leaseExpiresAt = now() + leaseMs
    const deadlineAt = timeoutMs === null ? null : now() + timeoutMs
    await setLease(tx, jobId, { leaseToken, leaseHolder: holder, leaseMs, leaseExpiresAt, deadlineAt })
    return { job, claim: { jobId, type, timeoutMs, leaseToken, leaseExpiresAt, ...input, attempt: job.attempt } }
  }

  const claimNext = async (tx: Tx, reach: ClaimFilter, holder: string, leaseMs: number): Promise<Found | 'sweeping' | undefined> => {
    for (let reconciled = 0; reconciled < reconciledAtOnceMax; reconciled++) {
      const item = await nextAvailable(tx, reach, now())
      if (item === undefined) return undefined
      // What an earlier attempt left of a result goes first, and a large one in more than one transaction.
      if (await discardChunks(tx, item.jobId, chunksAtOnceMax) === chunksAtOnceMax) return 'sweeping'
      const found = await claimOne(tx, item, reach, holder, leaseMs)
      if (found !== undefined) return found
    }
    return 'sweeping'
  }

  return async (reach, holder, leaseMs) => {
    if (reach.types.length === 0) return null
    while (await queue.hasAvailable(reach, now())) {
      const found = await transact(tx => claimNext(tx, reach, holder, leaseMs))
      if (found === undefined) return null
      if (found === 'sweeping') {
        // Without a turn for the event loop nothing else would happen until all is swept.
        await nextTurn()
        continue
      }
      try {
        await expose({ kind: 'job', job: found.job })
      } catch (failure) {
        // Nobody will ever know the lease; where that cannot be done either, it runs out. Whoever asked need not wait.
        void release(found.claim).catch(() => {})
        throw failure
      }
      onTransition(found.job, 'claim')
      return found.claim
    }
    return null
  }
}
