import { type Failure, isTerminal, type Job, type JobLookup } from '../job/job.ts'
import { type JobEvent, type JobEventType, transition } from '../job/lifecycle.ts'
import type { ProgressUpdate } from '../job/progress.ts'
import type { Expose } from '../status/expose.ts'
import { findJob, updateJob } from '../store/job-store.ts'
import {
  type Abandoned, clearLease, dequeue, extendLease, findAbandoned, findInput, findQueueItem, nextAvailable, type QueueItem, type QueueLook, setLease
} from '../store/queue.ts'
import { appendChunk, discardChunks, insertResult } from '../store/result-store.ts'
import type { Transact, Write } from '../store/transact.ts'

/** The right to report on one run of a job: void as soon as another run could begin. */
export type LeaseHeld = { jobId: string, leaseToken: string }

/** A job to run. `input` and `access` are JSON text; `timeoutMs` bounds this one run. */
export type Claim = LeaseHeld & {
  type: string
  input: string
  access: string
  attempt: number
  timeoutMs: number | null
  leaseExpiresAt: number
}

/** Facts of the bytes that were appended, to become the result. `sha256` in base64. */
export type Completion = {
  contentType: string
  fileName: string
  sizeBytes: number
  sha256: string
  inlineJson: string | null
  message?: string
}

/** The lease ran out or went to another: nothing of what came with it is kept. */
export class LeaseLost extends Error {
  constructor (jobId: string) {
    super(`the lease on job ${jobId} is lost`)
    this.name = 'LeaseLost'
  }
}

/** The commands of whoever runs jobs. All but `claim` and `rescue` throw LeaseLost; all throw STORE_UNAVAILABLE. */
export type RunJob = {
  claim: (types: readonly string[], holder: string, leaseMs: number) => Promise<Claim | null>
  heartbeat: (lease: LeaseHeld, leaseMs: number) => Promise<void>
  progress: (lease: LeaseHeld, update: ProgressUpdate) => Promise<void>
  /** Appends result bytes at an offset; returns the new size. Throws OffsetMismatch. */
  append: (lease: LeaseHeld, offset: number, bytes: Uint8Array) => Promise<number>
  complete: (lease: LeaseHeld, completion: Completion) => Promise<void>
  fail: (lease: LeaseHeld, failure: Failure, retryable: boolean) => Promise<void>
  /** Gives the job back unfinished, to be run again at once. */
  release: (lease: LeaseHeld) => Promise<void>
  /** Takes back the jobs whose lease ran out, or that a holder left behind; returns how many. */
  rescue: (holder?: string) => Promise<number>
}

export type RunJobNeeds = {
  transact: Transact
  queue: QueueLook
  expose: Expose
  randomId: () => string
  /** ms since 1970. */
  now: () => number
  /** Told of every change of state once it is committed and exposed. */
  onTransition: (job: Job, event: JobEventType) => void
}

const rescuedAtOnceMax = 100
const lookAgainMs = 60_000

const toOwnJob = (lookup: JobLookup): Job | undefined =>
  lookup.kind === 'job' && lookup.job.submittedBy !== null ? lookup.job : undefined

/** Applies an event to a job of the queue, and keeps the queue in step. Undefined: the event cannot happen. */
const apply = async (write: Write, item: QueueItem, event: JobEvent, now: number): Promise<JobLookup | undefined> => {
  const job = toOwnJob(await findJob(write, item.jobId))
  const next = job === undefined ? undefined : transition(job, event)
  if (next?.accepted !== true || !await updateJob(write, next.job)) return undefined
  if (next.job.state === 'failed') await discardChunks(write, item.jobId)
  if (isTerminal(next.job)) await dequeue(write, item.jobId)
  else if (next.job.state === 'queued') await clearLease(write, item.jobId, now + (next.retryAfterMs ?? 0))
  return await findJob(write, item.jobId)
}

// Another program changed a record of ours. If it queued the job again, the job is to be had again; while it runs the
// job itself, it may still give it back; if it finished or replaced it, there is nothing left to run.
const settleForeignChange = async (write: Write, jobId: string, now: number): Promise<void> => {
  const state = toOwnJob(await findJob(write, jobId))?.state
  if (state === 'queued') await clearLease(write, jobId, now)
  else if (state === 'running') await clearLease(write, jobId, now + lookAgainMs)
  else await dequeue(write, jobId)
}

const requireLease = async (write: Write, { jobId, leaseToken }: LeaseHeld, now: number): Promise<QueueItem> => {
  const item = await findQueueItem(write, jobId)
  if (item?.leaseToken !== leaseToken || (item.leaseExpiresAt ?? 0) <= now) throw new LeaseLost(jobId)
  return item
}

/** One event of a run, in the transaction that checks its lease, and exposed before it is acknowledged. */
const createReport = ({ transact, expose, now, onTransition }: RunJobNeeds) => async (
  lease: LeaseHeld, toEvent: (item: QueueItem) => JobEvent, alongside?: (write: Write) => Promise<void>
): Promise<void> => {
  const { lookup, event } = await transact(async write => {
    const item = await requireLease(write, lease, now())
    await alongside?.(write)
    const event = toEvent(item)
    const lookup = await apply(write, item, event, now())
    // Another program changed the record under the lease: what it wrote stands.
    if (lookup === undefined) throw new LeaseLost(lease.jobId)
    return { lookup, event }
  })
  await expose(lookup)
  if (lookup.kind === 'job' && event.type !== 'progress') onTransition(lookup.job, event.type)
}

const createClaim = ({ transact, queue, expose, randomId, now, onTransition }: RunJobNeeds): RunJob['claim'] => {
  const claimNext = async (write: Write, types: readonly string[], holder: string, leaseMs: number) => {
    for (;;) {
      const item = await nextAvailable(write, types, now())
      if (item === undefined) return undefined
      const { jobId, type, timeoutMs } = item
      const input = await findInput(write, jobId)
      const lookup = input === undefined ? undefined : await apply(write, item, { type: 'claim', at: now() }, now())
      if (input === undefined || lookup?.kind !== 'job') {
        if (input === undefined) await dequeue(write, jobId)
        else await settleForeignChange(write, jobId, now())
        continue
      }
      const leaseToken = randomId()
      const leaseExpiresAt = now() + leaseMs
      await setLease(write, jobId, { leaseToken, leaseHolder: holder, leaseExpiresAt })
      await discardChunks(write, jobId)
      return { lookup, claim: { jobId, type, timeoutMs, leaseToken, leaseExpiresAt, ...input, attempt: lookup.job.attempt } }
    }
  }
  return async (types, holder, leaseMs) => {
    if (types.length === 0 || !queue.hasAvailable(types, now())) return null
    const claimed = await transact(write => claimNext(write, types, holder, leaseMs))
    if (claimed === undefined) return null
    await expose(claimed.lookup)
    onTransition(claimed.lookup.job, 'claim')
    return claimed.claim
  }
}

const createRescue = ({ transact, queue, expose, now, onTransition }: RunJobNeeds): RunJob['rescue'] => {
  const rescueSome = async (by: Abandoned): Promise<number> => {
    const lookups = await transact(async write => {
      const rescued: JobLookup[] = []
      for (const item of await findAbandoned(write, by, rescuedAtOnceMax)) {
        const lookup = await apply(write, item, { type: 'rescue', at: now(), maxAttempts: item.maxAttempts }, now())
        if (lookup === undefined) await settleForeignChange(write, item.jobId, now())
        else rescued.push(lookup)
      }
      return rescued
    })
    await Promise.all(lookups.map(lookup => expose(lookup)))
    for (const lookup of lookups) if (lookup.kind === 'job') onTransition(lookup.job, 'rescue')
    return lookups.length
  }
  return async holder => {
    const by = holder === undefined ? { expiredAt: now() } : { holder }
    let total = 0
    while (queue.hasAbandoned(by)) total += await rescueSome(by)
    return total
  }
}

export const createRunJob = (needs: RunJobNeeds): RunJob => {
  const { transact, now } = needs
  const report = createReport(needs)
  return {
    claim: createClaim(needs),
    heartbeat: (lease, leaseMs) => transact(async write => {
      await requireLease(write, lease, now())
      // A run that another program has ended need not go on to its own end.
      if (toOwnJob(await findJob(write, lease.jobId))?.state !== 'running') throw new LeaseLost(lease.jobId)
      await extendLease(write, lease.jobId, now() + leaseMs)
    }),
    progress: (lease, update) => report(lease, () => ({ type: 'progress', at: now(), update })),
    append: (lease, offset, bytes) => transact(async write => {
      await requireLease(write, lease, now())
      return await appendChunk(write, lease.jobId, offset, bytes)
    }),
    complete: (lease, { message, ...result }) => report(
      lease,
      () => ({
        type: 'complete',
        at: now(),
        resultUrl: `/api/v1/jobs/${lease.jobId}/result`,
        result,
        ...(message === undefined ? {} : { message })
      }),
      write => insertResult(write, lease.jobId, result)
    ),
    fail: (lease, failure, retryable) => report(
      lease, ({ maxAttempts }) => ({ type: 'fail', at: now(), failure, retryable, maxAttempts })
    ),
    release: lease => report(lease, () => ({ type: 'release' })),
    rescue: createRescue(needs)
  }
}
