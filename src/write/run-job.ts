import type { ContentInfo } from '../job/content-info.ts'
import type { LeaseHeld } from '../job/lease.ts'
import type { Failure, JobLookup, ResultFacts } from '../job/job.ts'
import { storedChunkBytes } from '../job/chunks.ts'
import type { JobEvent } from '../job/lifecycle.ts'
import type { ProgressUpdate } from '../job/progress.ts'
import type { Expose } from '../status/expose.ts'
import type { InputReader, QueueItem, Tx } from '../store/store.ts'
import { findJob } from '../store/tx/jobs.ts'
import { extendLease, findQueueItem, setCancelDue, setContentInfo } from '../store/tx/queue.ts'
import { appendChunk, insertResult, resultSize } from '../store/tx/results.ts'
import { OffsetMismatch } from '../store/errors.ts'
import { insertSanitizationEvents } from '../store/tx/sanitization-events.ts'
import { applyEvent, toOwnJob } from './apply-event.ts'
import type { ClaimJobNeeds } from './claim-job.ts'

/** What the holder of a lease is told in every answer. `leaseExpiresAt` in ms since 1970. */
export type LeaseState = { leaseExpiresAt: number, cancelRequested: boolean }

/**
 * How a run ended well: with the bytes that were appended, with bytes given now (to a run that appended none), with a
 * result that is elsewhere, or with none. `counts`: what was removed, by kind, where that was the work.
 */
export type RunOutcome = { message?: string, counts?: Readonly<Record<string, number>> } & (
  | { kind: 'appended', facts: ResultFacts }
  | { kind: 'given', facts: ResultFacts, bytes: Uint8Array }
  | { kind: 'external', url: string }
  | { kind: 'none' }
)

/** Where the result goes on, if bytes out of place are why a command failed; else undefined. */
export const offsetToldBy = (error: unknown): number | undefined => error instanceof OffsetMismatch ? error.offset : undefined

/** The lease ran out or went to another: nothing of what came with it is kept. */
export class LeaseLost extends Error {
  constructor (jobId: string) {
    super(`the lease on job ${jobId} is lost`)
    this.name = 'LeaseLost'
  }
}

/** A result was given to a run that has appended bytes: one of the two would be lost. */
export class ResultBegun extends Error {
  constructor (jobId: string) {
    super(`bytes of a result of job ${jobId} were appended already`)
    this.name = 'ResultBegun'
  }
}

type Entry = Awaited<ReturnType<Expose>>

/**
 * What a run has appended so far, and the length of its lease. `isBegun`: it has appended, if only the nothing that an
 * empty result consists of.
 */
export type Appended = ContentInfo & { attempt: number, sizeBytes: number, isBegun: boolean, leaseMs: number }

/** The commands of whoever runs a job. All throw LeaseLost and STORE_UNAVAILABLE; all but the last three prolong the lease. */
export type RunJob = {
  heartbeat: (lease: LeaseHeld) => Promise<LeaseState>
  progress: (lease: LeaseHeld, update: ProgressUpdate) => Promise<LeaseState>
  /** Appends result bytes at an offset; `kind` counts at offset 0. Returns the new size. Throws OffsetMismatch. */
  append: (lease: LeaseHeld, offset: number, bytes: Uint8Array, kind: ContentInfo) => Promise<number>
  appended: (lease: LeaseHeld) => Promise<Appended>
  /** Returns the job as it then is. Throws OffsetMismatch, ResultBegun. */
  complete: (lease: LeaseHeld, outcome: RunOutcome) => Promise<Entry>
  fail: (lease: LeaseHeld, failure: Failure, retryable: boolean) => Promise<Entry>
  /** Gives the job back unfinished, to be run again at once. */
  release: (lease: LeaseHeld) => Promise<Entry>
}

/** Reads of what a run works on, past the writer. */
export type InputReads = Pick<InputReader, 'find' | 'read'>

export type RunJobNeeds = Omit<ClaimJobNeeds, 'queue' | 'randomId' | 'release'> & {
  /** How long stored results are kept unless the submitter asked for less; ms. */
  resultRetentionMs: number
  /** How long a worker has to notice that its job was cancelled, in ms; then that is done without it. */
  graceMs: number
}

const leaseMsDefault = 30_000

const requireLease = async (tx: Tx, { jobId, leaseToken }: LeaseHeld, now: number): Promise<QueueItem> => {
  const item = await findQueueItem(tx, jobId)
  if (item?.leaseToken !== leaseToken || (item.leaseExpiresAt ?? 0) <= now) throw new LeaseLost(jobId)
  return item
}

const extend = async (tx: Tx, { jobId, leaseMs }: QueueItem, now: number): Promise<number> => {
  const leaseExpiresAt = now + (leaseMs ?? leaseMsDefault)
  await extendLease(tx, jobId, leaseExpiresAt)
  return leaseExpiresAt
}

// What the record says, for another program may have asked too; the grace then begins when the worker is told.
const isCancelRequested = async (tx: Tx, lookup: JobLookup, dueAt: number): Promise<boolean> => {
  const job = toOwnJob(lookup)
  if (job?.state !== 'running' || job.cancelRequestedAt === null) return false
  await setCancelDue(tx, job.jobId, dueAt)
  return true
}

const kindOf = ({ resultContentType, resultFileName }: QueueItem): ContentInfo =>
  ({ contentType: resultContentType ?? 'application/octet-stream', fileName: resultFileName ?? 'result' })

const storeResult = async (tx: Tx, jobId: string, outcome: RunOutcome): Promise<void> => {
  if (outcome.kind === 'appended') return await insertResult(tx, jobId, outcome.facts)
  if (await resultSize(tx, jobId) > 0) throw new ResultBegun(jobId)
  if (outcome.kind !== 'given') return
  for (let offset = 0; offset < outcome.bytes.byteLength; offset += storedChunkBytes) {
    await appendChunk(tx, jobId, offset, outcome.bytes.subarray(offset, offset + storedChunkBytes))
  }
  await insertResult(tx, jobId, outcome.facts)
}

const toCompletion = (jobId: string, outcome: RunOutcome, at: number, retentionMs: number): JobEvent => {
  const message = outcome.message === undefined ? {} : { message: outcome.message }
  const facts = outcome.kind === 'appended' || outcome.kind === 'given' ? outcome.facts : null
  if (facts !== null) {
    const resultUrl = `/api/v1/jobs/${jobId}/result`
    return { type: 'complete', at, resultUrl, result: facts, expiresAt: at + retentionMs, ...message }
  }
  const resultUrl = outcome.kind === 'external' ? outcome.url : null
  return { type: 'complete', at, resultUrl, result: null, expiresAt: null, ...message }
}

/** One event of a run, in the transaction that checks its lease, and exposed before it is acknowledged. */
const createReport = ({ transact, expose, now, graceMs, onTransition }: RunJobNeeds) => async (
  lease: LeaseHeld, toEvent: (item: QueueItem) => JobEvent, alongside?: (tx: Tx) => Promise<void>
): Promise<{ entry: Entry, state: LeaseState }> => {
  const { lookup, event, state } = await transact(async tx => {
    const item = await requireLease(tx, lease, now())
    await alongside?.(tx)
    const event = toEvent(item)
    const leaseExpiresAt = await extend(tx, item, now())
    const lookup: JobLookup | undefined = await applyEvent(tx, item, event, now())
    // Another program changed the record under the lease: what it wrote stands.
    if (lookup === undefined) throw new LeaseLost(lease.jobId)
    const cancelRequested = await isCancelRequested(tx, lookup, now() + graceMs)
    return { lookup, event, state: { leaseExpiresAt, cancelRequested } }
  })
  const entry = await expose(lookup)
  if (lookup.kind === 'job' && event.type !== 'progress') onTransition(lookup.job, event.type)
  return { entry, state }
}

export const createRunJob = (needs: RunJobNeeds): RunJob => {
  const { transact, expose, now, resultRetentionMs, graceMs } = needs
  const report = createReport(needs)

  const append: RunJob['append'] = async (lease, offset, bytes, kind) => {
    const { size, lookup } = await transact(async tx => {
      const item = await requireLease(tx, lease, now())
      const size = await appendChunk(tx, lease.jobId, offset, bytes)
      await extend(tx, item, now())
      if (offset > 0) return { size, lookup: undefined }
      await setContentInfo(tx, lease.jobId, kind)
      if (size === 0) return { size, lookup: undefined }
      const lookup = await applyEvent(tx, item, { type: 'append' }, now())
      if (lookup === undefined) throw new LeaseLost(lease.jobId)
      return { size, lookup }
    })
    if (lookup !== undefined) await expose(lookup)
    return size
  }

  return {
    heartbeat: async lease => {
      const { lookup, state } = await transact(async tx => {
        const item = await requireLease(tx, lease, now())
        const lookup = await findJob(tx, lease.jobId)
        // A run that another program has ended need not go on to its own end.
        if (toOwnJob(lookup)?.state !== 'running') throw new LeaseLost(lease.jobId)
        const leaseExpiresAt = await extend(tx, item, now())
        const cancelRequested = await isCancelRequested(tx, lookup, now() + graceMs)
        return { lookup, state: { leaseExpiresAt, cancelRequested } }
      })
      // Whoever asked for the cancellation may not have come to reveal it yet.
      if (state.cancelRequested) await expose(lookup)
      return state
    },
    progress: async (lease, update) => (await report(lease, () => ({ type: 'progress', at: now(), update }))).state,
    append,
    appended: lease => transact(async tx => {
      const item = await requireLease(tx, lease, now())
      const attempt = toOwnJob(await findJob(tx, lease.jobId))?.attempt ?? 0
      await extend(tx, item, now())
      const { leaseMs, resultContentType } = item
      return {
        ...kindOf(item),
        attempt,
        sizeBytes: await resultSize(tx, lease.jobId),
        isBegun: resultContentType !== null,
        leaseMs: leaseMs ?? leaseMsDefault
      }
    }),
    complete: async (lease, outcome) => (await report(
      lease,
      item => toCompletion(lease.jobId, outcome, now(), Math.min(resultRetentionMs, item.resultRetentionMs ?? Infinity)),
      async tx => {
        await storeResult(tx, lease.jobId, outcome)
        await insertSanitizationEvents(tx, lease.jobId, outcome.counts ?? {}, now())
      }
    )).entry,
    fail: async (lease, failure, retryable) => (await report(
      lease, ({ maxAttempts }) => ({ type: 'fail', at: now(), failure, retryable, maxAttempts })
    )).entry,
    release: async lease => (await report(lease, () => ({ type: 'release', at: now() }))).entry
  }
}
