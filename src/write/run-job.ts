import { storedChunkBytes } from '../job/chunks.ts'
import type { Failure, JobLookup, ResultFacts, ContentInfo } from '../job/job.ts'
import { type LeaseHeld, LeaseLost, type LeaseState, ResultBegun } from '../job/lease.ts'
import type { JobEvent } from '../job/lifecycle.ts'
import type { ProgressUpdate } from '../job/progress.ts'
import { toRecordedFailure, toRecordedProgress } from '../job/recorded-texts.ts'
import type { StatusEntry } from '../job/status-entry.ts'
import type { QueueItem, Tx } from '../store/store.ts'
import { findJob, lockJob } from '../store/tx/jobs.ts'
import { setLeaseEnd, findQueueItem, setCancelDue, setContentInfo } from '../store/tx/queue.ts'
import { appendChunk, insertResult, resultSize } from '../store/tx/results.ts'
import { insertSanitizationEvents } from '../store/tx/sanitization-events.ts'
import { applyEvent, toOwnJob } from './apply-event.ts'
import type { ChangedJob, CommandNeeds, WorkResult } from './commit.ts'

/**
 * How a run ended well: with the bytes that it appended, with bytes given now (if it appended none), with a result
 * elsewhere, or with none. `counts`: what a sanitization removed, by kind.
 */
export type RunOutcome = { message?: string, counts?: Readonly<Record<string, number>> } & (
  | { kind: 'appended', facts: ResultFacts }
  | { kind: 'given', facts: ResultFacts, bytes: Uint8Array }
  | { kind: 'external', url: string }
  | { kind: 'none' }
)

/**
 * What a run has appended so far, and the length of its lease. `isBegun`: it has appended, if only the zero bytes of
 * an empty result.
 */
export type Appended = ContentInfo & Stored & { attempt: number, isBegun: boolean, leaseMs: number }

/** What an append left: how much is stored now, and whether the worker should stop. */
export type Stored = { sizeBytes: number, cancelRequested: boolean }

/**
 * The reports of a worker that runs a job. All throw LeaseLost and STORE_UNAVAILABLE; all but the last three renew
 * the lease.
 */
export type RunJob = {
  heartbeat: (lease: LeaseHeld) => Promise<LeaseState>
  progress: (lease: LeaseHeld, update: ProgressUpdate) => Promise<LeaseState>
  /** Appends result bytes at an offset; `content` counts at offset 0. Throws OffsetMismatch. */
  append: (lease: LeaseHeld, offset: number, bytes: Uint8Array, content: ContentInfo) => Promise<Stored>
  appended: (lease: LeaseHeld) => Promise<Appended>
  /** Returns the job as it then is. Throws OffsetMismatch, ResultBegun. */
  complete: (lease: LeaseHeld, outcome: RunOutcome) => Promise<StatusEntry>
  fail: (lease: LeaseHeld, failure: Failure, retryable: boolean) => Promise<StatusEntry>
  /** Gives the job back unfinished, to be run again at once. */
  release: (lease: LeaseHeld) => Promise<StatusEntry>
}

export type RunJobNeeds = CommandNeeds & {
  /** How long stored results are kept unless the submitter asked for less; ms. */
  resultRetentionMs: number
  /** How long a worker has to notice a cancellation, in ms; then the job is cancelled without it. */
  graceMs: number
}

const leaseMsDefault = 30_000

// The first step of each report. A lease whose time is over is held until a rescue takes it: a report that comes first
// shows that the worker is alive.
const requireLease = async (tx: Tx, { jobId, leaseToken }: LeaseHeld): Promise<QueueItem> => {
  await lockJob(tx, jobId)
  const item = await findQueueItem(tx, jobId)
  if (item?.leaseToken !== leaseToken) throw new LeaseLost(jobId)
  return item
}

const renewLease = async (tx: Tx, { jobId, leaseMs }: QueueItem, now: number): Promise<number> => {
  const leaseExpiresAt = now + (leaseMs ?? leaseMsDefault)
  await setLeaseEnd(tx, jobId, leaseExpiresAt)
  return leaseExpiresAt
}

// The record decides, for another program may have asked too; the grace time then begins with this report.
const isCancelRequested = async (tx: Tx, lookup: JobLookup, dueAt: number): Promise<boolean> => {
  const job = toOwnJob(lookup)
  if (job?.state !== 'running' || job.cancelRequestedAt === null) return false
  await setCancelDue(tx, job.jobId, dueAt)
  return true
}

const toContentInfo = ({ resultContentType, resultFileName }: QueueItem): ContentInfo =>
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
  const message = outcome.message === undefined ? {} : toRecordedProgress({ message: outcome.message })
  const facts = outcome.kind === 'appended' || outcome.kind === 'given' ? outcome.facts : null
  if (facts !== null) {
    const resultUrl = `/api/v1/jobs/${jobId}/result`
    return { type: 'complete', at, resultUrl, result: facts, expiresAt: at + retentionMs, ...message }
  }
  const resultUrl = outcome.kind === 'external' ? outcome.url : null
  return { type: 'complete', at, resultUrl, result: null, expiresAt: null, ...message }
}

/**
 * Applies one event to a run, in the transaction that checks its lease. `alongside` writes in the same transaction.
 */
const createReport = ({ commit, now, graceMs }: RunJobNeeds) => async (
  lease: LeaseHeld, toEvent: (item: QueueItem) => JobEvent, alongside?: (tx: Tx) => Promise<void>
): Promise<{ entry: StatusEntry, state: LeaseState }> => {
  const { entries: [entry], value: state } = await commit(async tx => {
    const item = await requireLease(tx, lease)
    await alongside?.(tx)
    const event = toEvent(item)
    const leaseExpiresAt = await renewLease(tx, item, now())
    const change = await applyEvent(tx, item, event, now())
    // Another program changed the record under the lease: its change stands.
    if (change === undefined) throw new LeaseLost(lease.jobId)
    const cancelRequested = await isCancelRequested(tx, change.lookup, now() + graceMs)
    return { changes: [change], value: { leaseExpiresAt, cancelRequested } }
  })
  return { entry, state }
}

const createHeartbeat = ({ commit, now, graceMs }: RunJobNeeds): RunJob['heartbeat'] => async lease => {
  const { value: state } = await commit(async tx => {
    const item = await requireLease(tx, lease)
    const lookup = await findJob(tx, lease.jobId)
    // If another program ended the run, the worker need not finish it.
    if (toOwnJob(lookup)?.state !== 'running') throw new LeaseLost(lease.jobId)
    const leaseExpiresAt = await renewLease(tx, item, now())
    const cancelRequested = await isCancelRequested(tx, lookup, now() + graceMs)
    // The command that requested the cancellation may not have exposed it yet, and this answer reveals it.
    return { changes: cancelRequested ? [{ lookup }] : [], value: { leaseExpiresAt, cancelRequested } }
  })
  return state
}

const createAppend = (
  { commit, now, graceMs }: RunJobNeeds
): RunJob['append'] => async (lease, offset, bytes, content) => {
  const { value } = await commit(async (tx): Promise<WorkResult<readonly ChangedJob[], Stored>> => {
    const item = await requireLease(tx, lease)
    const sizeBytes = await appendChunk(tx, lease.jobId, offset, bytes)
    await renewLease(tx, item, now())
    if (offset === 0) await setContentInfo(tx, lease.jobId, content)
    const isFirst = offset === 0 && sizeBytes > 0
    const change = isFirst
      ? await applyEvent(tx, item, { type: 'append' }, now())
      : { lookup: await findJob(tx, lease.jobId) }
    if (change === undefined) throw new LeaseLost(lease.jobId)
    const cancelRequested = await isCancelRequested(tx, change.lookup, now() + graceMs)
    return { changes: isFirst || cancelRequested ? [change] : [], value: { sizeBytes, cancelRequested } }
  })
  return value
}

const createAppended = ({ commit, now, graceMs }: RunJobNeeds): RunJob['appended'] => async lease => {
  const { value } = await commit(async (tx): Promise<WorkResult<readonly ChangedJob[], Appended>> => {
    const item = await requireLease(tx, lease)
    const lookup = await findJob(tx, lease.jobId)
    await renewLease(tx, item, now())
    const cancelRequested = await isCancelRequested(tx, lookup, now() + graceMs)
    return {
      changes: cancelRequested ? [{ lookup }] : [],
      value: {
        ...toContentInfo(item),
        attempt: toOwnJob(lookup)?.attempt ?? 0,
        sizeBytes: await resultSize(tx, lease.jobId),
        cancelRequested,
        isBegun: item.resultContentType !== null,
        leaseMs: item.leaseMs ?? leaseMsDefault
      }
    }
  })
  return value
}

export const createRunJob = (needs: RunJobNeeds): RunJob => {
  const { now, resultRetentionMs } = needs
  const report = createReport(needs)
  return {
    heartbeat: createHeartbeat(needs),
    progress: async (lease, update) => {
      const recorded = toRecordedProgress(update)
      return (await report(lease, () => ({ type: 'progress', at: now(), update: recorded }))).state
    },
    append: createAppend(needs),
    appended: createAppended(needs),
    complete: async (lease, outcome) => (await report(
      lease,
      item => {
        const retentionMs = Math.min(resultRetentionMs, item.resultRetentionMs ?? Infinity)
        return toCompletion(lease.jobId, outcome, now(), retentionMs)
      },
      async tx => {
        await storeResult(tx, lease.jobId, outcome)
        await insertSanitizationEvents(tx, lease.jobId, outcome.counts ?? {}, now())
      }
    )).entry,
    fail: async (lease, failure, retryable) => {
      const recorded = toRecordedFailure(failure)
      return (await report(
        lease, ({ maxAttempts }) => ({ type: 'fail', at: now(), failure: recorded, retryable, maxAttempts })
      )).entry
    },
    release: async lease => (await report(lease, () => ({ type: 'release', at: now() }))).entry
  }
}
