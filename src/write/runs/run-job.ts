import type { Failure, JobLookup, ContentInfo } from '../../job/job.ts'
import { isVisibleToHolder, type LeaseHeld, LeaseLost, type LeaseState } from '../../job/lease.ts'
import type { JobEvent } from '../../job/lifecycle.ts'
import type { ProgressUpdate } from '../../job/progress.ts'
import { toRecordedFailure, toRecordedProgress } from '../../job/recorded/texts.ts'
import type { StatusEntry } from '../../job/status-entry.ts'
import type { QueueItem, Tx } from '../../store/store.ts'
import { together } from '../../store/together.ts'
import { findRun } from '../../store/tx/runs/attempts.ts'
import { findJob, lockAndFindJob } from '../../store/tx/jobs.ts'
import { setLeaseEnd, findQueueItem, setCancelDue, setContentInfo } from '../../store/tx/runs/queue.ts'
import { appendBytes, resultSize } from '../../store/tx/results.ts'
import { applyAtOnce, applyEventTo, toOwnJob, toPossible } from '../apply-event.ts'
import type { ChangedJob, CommandNeeds, WorkResult } from '../commit.ts'
import { type EndReport, hashReport, wasEndedBy } from './repeated-report.ts'
import { requireStorable, type RunOutcome, storeOutcome, toCompletion } from './run-outcome.ts'

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
const requireLease = async (tx: Tx, lease: LeaseHeld): Promise<Run> => {
  const { jobId, leaseToken } = lease
  const [lookup, item] = await together(lockAndFindJob(tx, jobId), findQueueItem(tx, jobId))
  if (item?.leaseToken !== leaseToken || !isVisibleToHolder(lease, lookup)) throw new LeaseLost(jobId)
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
 * How a report changes its job. `outcome` is stored with it; `end`: the report ends the run; `isLarge`: other reports
 * should not have to wait for it.
 */
type Report = { toEvent: (item: QueueItem) => JobEvent, outcome?: RunOutcome, end?: EndReport, isLarge?: boolean }

// Reports do the same to different jobs, whatever it is that they report.
const group = 'reports'
const bytesInGroupMax = 64 * 1024

// The job whose run this report has ended before, under this lease.
const findEnded = async (tx: Tx, lease: LeaseHeld, end: EndReport): Promise<JobLookup | undefined> => {
  if (!await wasEndedBy(tx, lease, end)) return undefined
  const lookup = await findJob(tx, lease.jobId)
  return isVisibleToHolder(lease, lookup) ? lookup : undefined
}

// Returns the job alone if the report that ended the run is repeated.
const requireLeaseUnlessRepeated = async (
  tx: Tx, lease: LeaseHeld, end: EndReport | undefined
): Promise<Run | { item?: never, lookup: JobLookup }> => {
  try {
    return await requireLease(tx, lease)
  } catch (error) {
    const lookup = error instanceof LeaseLost && end !== undefined ? await findEnded(tx, lease, end) : undefined
    if (lookup === undefined) throw error
    return { lookup }
  }
}

/**
 * Applies one event to a run, in the transaction that checks its lease. What can make it fail is read first, since a
 * failure after a write undoes the reports of others, too; then all is written at once.
 */
const createReport = ({ commit, now, graceMs }: RunJobNeeds) => async (
  lease: LeaseHeld, { toEvent, outcome, end, isLarge = false }: Report
): Promise<{ entry: StatusEntry, state: LeaseState }> => {
  const { jobId } = lease
  const { entries: [entry], value: state } = await commit(async tx => {
    const [{ item, lookup }, storedBytes] = await together(
      requireLeaseUnlessRepeated(tx, lease, end), outcome === undefined ? 0 : resultSize(tx, jobId))
    if (item === undefined) {
      const change: ChangedJob = { lookup }
      return { changes: [change], value: { leaseExpiresAt: now(), cancelRequested: false } }
    }
    const possible = toPossible(lookup, toEvent(item))
    // Another program changed the record under the lease: its change stands.
    if (possible === undefined) throw new LeaseLost(jobId)
    if (outcome !== undefined) requireStorable(jobId, outcome, storedBytes)
    const isOver = possible.next.job.state !== 'running'
    const [, change, leaseExpiresAt] = await together(
      outcome === undefined ? undefined : storeOutcome(tx, jobId, outcome, now()),
      applyAtOnce(tx, possible, now(), end === undefined ? null : hashReport(end)),
      isOver ? now() : renewLease(tx, item, now()))
    if (change === undefined) throw new LeaseLost(jobId)
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
    const [{ item, lookup }, size] = await together(requireLease(tx, lease), resultSize(tx, lease.jobId))
    const [sizeBytes] = await together(
      appendBytes(tx, lease.jobId, offset, bytes, size),
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
    const lookup = await findEnded(tx, lease, { type: 'complete', outcome: { kind: 'none' } })
    return { changes: lookup === undefined ? [] : [{ lookup }], value: null }
  })
  return entry
}

const createComplete = (needs: RunJobNeeds): RunJob['complete'] => {
  const { now, resultRetentionMs } = needs
  const report = createReport(needs)
  return async (lease, outcome) => (await report(lease, {
    end: { type: 'complete', outcome },
    outcome,
    isLarge: outcome.kind === 'given' && outcome.bytes.byteLength > bytesInGroupMax,
    toEvent: item => {
      const retentionMs = Math.min(resultRetentionMs, item.resultRetentionMs ?? Infinity)
      return toCompletion(lease.jobId, outcome, now(), retentionMs)
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
