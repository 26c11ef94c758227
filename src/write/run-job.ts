import type { Failure, JobLookup, ContentInfo } from '../job/job.ts'
import { type LeaseHeld, LeaseLost, type LeaseState } from '../job/lease.ts'
import type { JobEvent } from '../job/lifecycle.ts'
import type { ProgressUpdate } from '../job/progress.ts'
import { toRecordedFailure, toRecordedProgress } from '../job/recorded/texts.ts'
import type { StatusEntry } from '../job/status-entry.ts'
import type { QueueItem, Tx } from '../store/store.ts'
import { together } from '../store/together.ts'
import { findRun } from '../store/tx/attempts.ts'
import { findJob, lockJob } from '../store/tx/jobs.ts'
import { setLeaseEnd, findQueueItem, setCancelDue, setContentInfo } from '../store/tx/queue.ts'
import { appendChunk, resultSize } from '../store/tx/results.ts'
import { insertSanitizationEvents } from '../store/tx/sanitization-events.ts'
import { applyEventTo, toOwnJob } from './apply-event.ts'
import type { ChangedJob, CommandNeeds, WorkResult } from './commit.ts'
import { type EndReport, hashReport, wasEndedBy } from './repeated-report.ts'
import { type RunOutcome, storeResult, toCompletion } from './run-outcome.ts'

/**
 * What a run has appended so far, and the length of its lease. `isBegun`: it has appended, if only the zero bytes of
 * an empty result.
 */
export type Appended = ContentInfo & Stored & { run: number, isBegun: boolean, leaseMs: number }

/** What an append left: how much is stored now, and whether the worker should stop. */
export type Stored = { sizeBytes: number, cancelRequested: boolean }

/**
 * The reports of a worker that runs a job. All but `findCompleted` throw LeaseLost, and all STORE_UNAVAILABLE. Those
 * that end the run can be repeated: the same report under the same lease changes nothing and returns the job as it
 * then is. The others renew the lease.
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
  /** The job whose run under this lease completed with what it had uploaded; undefined: it did not. */
  findCompleted: (lease: LeaseHeld) => Promise<StatusEntry | undefined>
  /** Gives the job back unfinished, to be run again at once; the attempt does not count. */
  release: (lease: LeaseHeld) => Promise<StatusEntry>
}

export type RunJobNeeds = CommandNeeds & {
  /** How long stored results are kept unless the submitter asked for less; ms. */
  resultRetentionMs: number
  /** How long a worker has to notice a cancellation, in ms; then the job is cancelled without it. */
  graceMs: number
}

const leaseMsDefault = 30_000

/** A run under its lease, and its record as the transaction that has locked it finds it. */
type Run = { item: QueueItem, lookup: JobLookup }

// The first step of each report. A lease whose time is over is held until a rescue takes it: a report that comes first
// shows that the worker is alive.
const requireLease = async (tx: Tx, { jobId, leaseToken }: LeaseHeld): Promise<Run> => {
  const [, item, lookup] = await together(lockJob(tx, jobId), findQueueItem(tx, jobId), findJob(tx, jobId))
  if (item?.leaseToken !== leaseToken) throw new LeaseLost(jobId)
  return { item, lookup }
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

/**
 * How a report changes its job. `alongside` writes in the same transaction; `end`: the report ends the run; `isLarge`:
 * other reports should not have to wait for it.
 */
type Report = {
  toEvent: (item: QueueItem) => JobEvent, alongside?: (tx: Tx) => Promise<void>, end?: EndReport, isLarge?: boolean
}

// Reports do the same to different jobs, whatever it is that they report.
const group = 'reports'
const bytesInGroupMax = 64 * 1024

// Returns undefined if the report that ended the run is repeated.
const requireLeaseUnlessRepeated = async (
  tx: Tx, lease: LeaseHeld, end: EndReport | undefined
): Promise<Run | undefined> => {
  try {
    return await requireLease(tx, lease)
  } catch (error) {
    if (error instanceof LeaseLost && end !== undefined && await wasEndedBy(tx, lease, end)) return undefined
    throw error
  }
}

/** Applies one event to a run, in the transaction that checks its lease. */
const createReport = ({ commit, now, graceMs }: RunJobNeeds) => async (
  lease: LeaseHeld, { toEvent, alongside, end, isLarge = false }: Report
): Promise<{ entry: StatusEntry, state: LeaseState }> => {
  const { entries: [entry], value: state } = await commit(async tx => {
    const run = await requireLeaseUnlessRepeated(tx, lease, end)
    if (run === undefined) {
      const change: ChangedJob = { lookup: await findJob(tx, lease.jobId) }
      return { changes: [change], value: { leaseExpiresAt: now(), cancelRequested: false } }
    }
    await alongside?.(tx)
    const event = toEvent(run.item)
    const [leaseExpiresAt, change] = await together(
      renewLease(tx, run.item, now()),
      applyEventTo(tx, run.lookup, event, now(), end === undefined ? null : hashReport(end)))
    // Another program changed the record under the lease: its change stands.
    if (change === undefined) throw new LeaseLost(lease.jobId)
    const cancelRequested = await isCancelRequested(tx, change.lookup, now() + graceMs)
    return { changes: [change], value: { leaseExpiresAt, cancelRequested } }
  }, isLarge ? undefined : group)
  return { entry, state }
}

const createHeartbeat = ({ commit, now, graceMs }: RunJobNeeds): RunJob['heartbeat'] => async lease => {
  const { value: state } = await commit(async tx => {
    const { item, lookup } = await requireLease(tx, lease)
    // If another program ended the run, the worker need not finish it.
    if (toOwnJob(lookup)?.state !== 'running') throw new LeaseLost(lease.jobId)
    const leaseExpiresAt = await renewLease(tx, item, now())
    const cancelRequested = await isCancelRequested(tx, lookup, now() + graceMs)
    // The command that requested the cancellation may not have exposed it yet, and this answer reveals it.
    return { changes: cancelRequested ? [{ lookup }] : [], value: { leaseExpiresAt, cancelRequested } }
  }, group)
  return state
}

const createAppend = (
  { commit, now, graceMs }: RunJobNeeds
): RunJob['append'] => async (lease, offset, bytes, content) => {
  const { value } = await commit(async (tx): Promise<WorkResult<readonly ChangedJob[], Stored>> => {
    const { item, lookup } = await requireLease(tx, lease)
    const [sizeBytes] = await together(
      appendChunk(tx, lease.jobId, offset, bytes),
      renewLease(tx, item, now()),
      offset === 0 ? setContentInfo(tx, lease.jobId, content) : undefined)
    const isFirst = offset === 0 && sizeBytes > 0
    const change = isFirst ? await applyEventTo(tx, lookup, { type: 'append' }, now()) : { lookup }
    if (change === undefined) throw new LeaseLost(lease.jobId)
    const cancelRequested = await isCancelRequested(tx, change.lookup, now() + graceMs)
    return { changes: isFirst || cancelRequested ? [change] : [], value: { sizeBytes, cancelRequested } }
  })
  return value
}

const createAppended = ({ commit, now, graceMs }: RunJobNeeds): RunJob['appended'] => async lease => {
  const { value } = await commit(async (tx): Promise<WorkResult<readonly ChangedJob[], Appended>> => {
    const { item, lookup } = await requireLease(tx, lease)
    await renewLease(tx, item, now())
    const cancelRequested = await isCancelRequested(tx, lookup, now() + graceMs)
    return {
      changes: cancelRequested ? [{ lookup }] : [],
      value: {
        ...toContentInfo(item),
        run: await findRun(tx, lease.jobId, toOwnJob(lookup)?.attempt ?? 0),
        sizeBytes: await resultSize(tx, lease.jobId),
        cancelRequested,
        isBegun: item.resultContentType !== null,
        leaseMs: item.leaseMs ?? leaseMsDefault
      }
    }
  })
  return value
}

const createFindCompleted = ({ commit }: RunJobNeeds): RunJob['findCompleted'] => async lease => {
  const { entries: [entry] } = await commit(async (tx): Promise<WorkResult<readonly ChangedJob[], null>> => {
    const isCompleted = await wasEndedBy(tx, lease, { type: 'complete', outcome: { kind: 'none' } })
    return { changes: isCompleted ? [{ lookup: await findJob(tx, lease.jobId) }] : [], value: null }
  })
  return entry
}

const createComplete = (needs: RunJobNeeds): RunJob['complete'] => {
  const { now, resultRetentionMs } = needs
  const report = createReport(needs)
  return async (lease, outcome) => (await report(lease, {
    end: { type: 'complete', outcome },
    isLarge: outcome.kind === 'given' && outcome.bytes.byteLength > bytesInGroupMax,
    toEvent: item => {
      const retentionMs = Math.min(resultRetentionMs, item.resultRetentionMs ?? Infinity)
      return toCompletion(lease.jobId, outcome, now(), retentionMs)
    },
    alongside: async tx => {
      await storeResult(tx, lease.jobId, outcome)
      await insertSanitizationEvents(tx, lease.jobId, outcome.counts ?? {}, now())
    }
  })).entry
}

export const createRunJob = (needs: RunJobNeeds): RunJob => {
  const { now } = needs
  const report = createReport(needs)
  return {
    heartbeat: createHeartbeat(needs),
    progress: async (lease, update) => {
      const recorded = toRecordedProgress(update)
      return (await report(lease, { toEvent: () => ({ type: 'progress', at: now(), update: recorded }) })).state
    },
    append: createAppend(needs),
    appended: createAppended(needs),
    complete: createComplete(needs),
    fail: async (lease, given, retryable) => {
      const failure = toRecordedFailure(given)
      return (await report(lease, {
        end: { type: 'fail', failure, retryable },
        toEvent: ({ maxAttempts }) => ({ type: 'fail', at: now(), failure, retryable, maxAttempts })
      })).entry
    },
    findCompleted: createFindCompleted(needs),
    release: async lease => (await report(lease, {
      end: { type: 'release' }, toEvent: () => ({ type: 'release', at: now() })
    })).entry
  }
}
