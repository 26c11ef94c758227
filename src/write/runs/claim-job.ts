import { setImmediate as nextTurn } from 'node:timers/promises'
import type { RawInput } from '../../job/input.ts'
import type { LeaseHeld } from '../../job/lease.ts'
import type { ClaimFilter, QueueReader, Tx } from '../../store/store.ts'
import { type AvailableJob, nextAvailable } from '../../store/tx/runs/available.ts'
import { beginRun } from '../../store/tx/runs/begin-run.ts'
import { dequeue, setQueueTenant } from '../../store/tx/runs/queue.ts'
import { discardChunks } from '../../store/tx/results.ts'
import { reconcileForeignChange, toPossible } from '../apply-event.ts'
import type { ChangedJob, CommandNeeds, WorkResult } from '../commit.ts'
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

// Another program may have given the job to another tenant.
const isOfTenant = async (tx: Tx, { jobId, lookup }: AvailableJob, { tenant }: ClaimFilter): Promise<boolean> => {
  if (tenant === null || lookup.kind !== 'job' || lookup.job.tenant === tenant) return true
  await setQueueTenant(tx, jobId, lookup.job.tenant)
  return false
}

const nameOf = ({ types, tenant }: ClaimFilter): string => `claim ${JSON.stringify([types, tenant])}`

const foundMax = 1000

export const createClaimJob = ({ commit, now, queue, randomId, release }: ClaimJobNeeds): ClaimJob => {
  const claimOne = async (
    tx: Tx, available: AvailableJob, filter: ClaimFilter, holder: string, leaseMs: number
  ): Promise<Claimed | undefined> => {
    const { jobId, type, timeoutMs, maxAttempts, lookup, input, latestRun } = available
    if (input === undefined) {
      await dequeue(tx, jobId)
      return undefined
    }
    if (!await isOfTenant(tx, available, filter)) return undefined
    const startedAt = now()
    const possible = toPossible(lookup, { type: 'claim', at: startedAt })
    if (possible === undefined) {
      await reconcileForeignChange(tx, jobId, now())
      return undefined
    }
    const { attempt, tenant } = possible.next.job
    const leaseToken = randomId()
    const leaseExpiresAt = now() + leaseMs
    const deadlineAt = timeoutMs === null ? null : now() + timeoutMs
    const start = { jobId, attempt, leaseHash: hashLease(leaseToken), startedAt }
    const lease = { leaseToken, leaseHolder: holder, leaseMs, leaseExpiresAt, deadlineAt }
    const changed = await beginRun(tx, possible.next.job, start, latestRun, lease)
    // The record was locked before it was read, so this undoes nothing that can happen.
    if (changed === undefined) throw new Error(`the record of job ${jobId} has changed under its lock`)
    return {
      changes: [{ lookup: changed, event: 'claim' }],
      value: { jobId, type, tenant, timeoutMs, maxAttempts, leaseToken, leaseExpiresAt, ...input, attempt },
      // No worker will ever learn this lease. If the release fails too, the lease runs out. The caller does not wait.
      onExposeFailed: () => { release({ jobId, leaseToken }).catch(() => {}) }
    }
  }

  const claimNext = async (tx: Tx, filter: ClaimFilter, holder: string, leaseMs: number): Promise<Claimed> => {
    for (let reconciled = 0; reconciled < reconciledAtOnceMax; reconciled++) {
      // A claim begins at the queue, so nextAvailable takes the record's lock as well.
      const available = await nextAvailable(tx, filter, now())
      if (available === undefined) return noJob
      const { jobId, sizeBytes } = available
      // Result bytes of an earlier attempt are removed first; many of them take more than one transaction.
      if (sizeBytes > 0 && await discardChunks(tx, jobId, chunksAtOnceMax) === chunksAtOnceMax) return tryAgain
      const claimed = await claimOne(tx, available, filter, holder, leaseMs)
      if (claimed !== undefined) return claimed
    }
    return tryAgain
  }

  // The names of claims that have found a job: the next one of a name probably finds one, too, and asks nothing first.
  const found = new Set<string>()

  return async (filter, holder, leaseMs) => {
    if (filter.types.length === 0) return null
    const name = nameOf(filter)
    // Of several types, the job that has waited longest comes first, one at a time.
    const group = filter.types.length === 1 ? name : undefined
    while (found.has(name) || await queue.hasAvailable(filter, now())) {
      const { value: claim } = await commit(tx => claimNext(tx, filter, holder, leaseMs), group)
      if (claim !== null && found.size < foundMax) found.add(name)
      else found.delete(name)
      if (claim !== 'try-again') return claim
      // The event loop gets a turn between two transactions, or requests would wait until all is cleared.
      await nextTurn()
    }
    return null
  }
}
