import { setImmediate as nextTurn } from 'node:timers/promises'
import type { JobInput, RawInput } from '../job/input.ts'
import type { JobLookup } from '../job/job.ts'
import type { LeaseHeld } from '../job/lease.ts'
import type { ClaimFilter, QueueItem, QueueReader, Tx } from '../store/store.ts'
import { together } from '../store/together.ts'
import { insertAttempt } from '../store/tx/attempts.ts'
import { findJob } from '../store/tx/jobs.ts'
import { findInput } from '../store/tx/inputs.ts'
import { dequeue, nextAvailable, setLease, setQueueTenant } from '../store/tx/queue.ts'
import { discardChunks, resultSize } from '../store/tx/results.ts'
import { applyEventTo, reconcileForeignChange } from './apply-event.ts'
import type { ChangedJob, CommandNeeds, WorkResult } from './commit.ts'
import { hashLease } from './repeated-report.ts'

/** A job to run. `input` and `access` are JSON text; `timeoutMs` bounds this one run; times in ms since 1970. */
export type Claim = LeaseHeld & {
  type: string
  input: string
  access: string
  raw: RawInput | null
  attempt: number
  maxAttempts: number
  tenant: string | null
  timeoutMs: number | null
  leaseExpiresAt: number
}

/**
 * Claims the job that has waited longest among those that match, for `holder`, under a lease of `leaseMs`. Returns
 * null if there is none. Throws STORE_UNAVAILABLE.
 */
export type ClaimJob = (filter: ClaimFilter, holder: string, leaseMs: number) => Promise<Claim | null>

export type ClaimJobNeeds = CommandNeeds & {
  queue: QueueReader
  randomId: () => string
  /** Puts a claimed job back into the queue. */
  release: (lease: LeaseHeld) => Promise<unknown>
}

const chunksAtOnceMax = 16
// Queue items that one transaction brings in line with what other programs did to their records.
const reconciledAtOnceMax = 10

type Claimed = WorkResult<readonly ChangedJob[], Claim | 'try-again' | null>

const noJob: Claimed = { changes: [], value: null }
const tryAgain: Claimed = { changes: [], value: 'try-again' }

/** What a claim reads of the job that it has found. */
type Read = { lookup: JobLookup, input: JobInput | undefined }

// Another program may have given the job to another tenant.
const isOfTenant = async (tx: Tx, { jobId }: QueueItem, { lookup }: Read, { tenant }: ClaimFilter): Promise<boolean> => {
  if (tenant === null || lookup.kind !== 'job' || lookup.job.tenant === tenant) return true
  await setQueueTenant(tx, jobId, lookup.job.tenant)
  return false
}

// Claims of one type: of several, the job that has waited longest comes first, one at a time.
const groupOf = ({ types, tenant }: ClaimFilter): string | undefined =>
  types.length === 1 ? `claim ${JSON.stringify([types, tenant])}` : undefined

export const createClaimJob = ({ commit, now, queue, randomId, release }: ClaimJobNeeds): ClaimJob => {
  const claimOne = async (
    tx: Tx, item: QueueItem, read: Read, filter: ClaimFilter, holder: string, leaseMs: number
  ): Promise<Claimed | undefined> => {
    const { jobId, type, timeoutMs, maxAttempts } = item
    const { input } = read
    if (input === undefined) {
      await dequeue(tx, jobId)
      return undefined
    }
    if (!await isOfTenant(tx, item, read, filter)) return undefined
    const startedAt = now()
    const change = await applyEventTo(tx, read.lookup, { type: 'claim', at: startedAt }, startedAt)
    if (change?.lookup.kind !== 'job') {
      await reconcileForeignChange(tx, jobId, now())
      return undefined
    }
    const { attempt, tenant } = change.lookup.job
    const leaseToken = randomId()
    const leaseExpiresAt = now() + leaseMs
    const deadlineAt = timeoutMs === null ? null : now() + timeoutMs
    await together(
      insertAttempt(tx, { jobId, attempt, leaseHash: hashLease(leaseToken), startedAt }),
      setLease(tx, jobId, { leaseToken, leaseHolder: holder, leaseMs, leaseExpiresAt, deadlineAt }))
    return {
      changes: [change],
      value: { jobId, type, tenant, timeoutMs, maxAttempts, leaseToken, leaseExpiresAt, ...input, attempt },
      // No worker will ever learn this lease. If the release fails too, the lease runs out. The caller does not wait.
      onExposeFailed: () => { release({ jobId, leaseToken }).catch(() => {}) }
    }
  }

  const claimNext = async (tx: Tx, filter: ClaimFilter, holder: string, leaseMs: number): Promise<Claimed> => {
    for (let reconciled = 0; reconciled < reconciledAtOnceMax; reconciled++) {
      // A claim begins at the queue, so nextAvailable takes the record's lock as well.
      const item = await nextAvailable(tx, filter, now())
      if (item === undefined) return noJob
      const { jobId } = item
      const [sizeBytes, lookup, input] = await together(resultSize(tx, jobId), findJob(tx, jobId), findInput(tx, jobId))
      // Result bytes of an earlier attempt are removed first; many of them take more than one transaction.
      if (sizeBytes > 0 && await discardChunks(tx, jobId, chunksAtOnceMax) === chunksAtOnceMax) return tryAgain
      const claimed = await claimOne(tx, item, { lookup, input }, filter, holder, leaseMs)
      if (claimed !== undefined) return claimed
    }
    return tryAgain
  }

  return async (filter, holder, leaseMs) => {
    if (filter.types.length === 0) return null
    while (await queue.hasAvailable(filter, now())) {
      const { value: claim } = await commit(tx => claimNext(tx, filter, holder, leaseMs), groupOf(filter))
      if (claim !== 'try-again') return claim
      // The event loop gets a turn between two transactions, or requests would wait until all is cleared.
      await nextTurn()
    }
    return null
  }
}
