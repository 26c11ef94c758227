import { setTimeout as delay } from 'node:timers/promises'
import type { Access } from '../job/input.ts'
import { isUnavailable } from '../errors.ts'
import type { Failure, ContentInfo } from '../job/job.ts'
import { LeaseLost, type LeaseState, OffsetMismatch } from '../job/lease.ts'
import { jobCancelled, timedOut } from '../job/lifecycle.ts'
import type { ProgressUpdate } from '../job/progress.ts'
import { ProcessorError } from '../processors/processor.ts'
import type { ProcessorPool } from '../processors/threads/pool.ts'
import type { Claim } from '../write/runs/claim-job.ts'
import { createResultDigest } from '../write/runs/result-digest.ts'
import type { RunJob } from '../write/runs/run-job.ts'

const retryPauseMs = 200
// For the last report of a run, which a drain waits for.
const retryAtEndMsMax = 5000

export type RunClaimNeeds = {
  runJob: RunJob
  pool: ProcessorPool
  leaseMs: number
  /** Milliseconds of a clock that only goes forward. */
  monotonicNow: () => number
  onError: (error: Error, jobId: string | null) => void
}

class RunTimedOut extends Error {}

/** Aborts a run whose job is to stop. */
export class RunCancelled extends Error {}

/** Aborts a run whose worker stops: the job goes back to the queue. */
export class WorkerStopping extends Error {}

/** Aborts a run without a report: another worker of this process releases its job. */
export class RunAbandoned extends Error {}

/** Sends progress one report at a time; while one is under way only the latest is kept. */
const createProgressReporter = (
  report: (update: ProgressUpdate) => Promise<unknown>, onError: (error: Error) => void
) => {
  let waiting: ProgressUpdate | null = null
  let underWay: Promise<void> | null = null
  const drain = async () => {
    for (let update = waiting; update !== null; update = waiting) {
      waiting = null
      await report(update).catch(onError)
    }
    underWay = null
  }
  return {
    push: (update: ProgressUpdate) => {
      waiting = { ...waiting, ...update }
      underWay ??= drain()
    },
    flushed: async () => { await underWay }
  }
}

type Retry = <Value>(report: () => Promise<Value>) => Promise<Value>

type RetryNeeds = {
  monotonicNow: () => number
  forMs: number
  isEnded: () => boolean
  /** The store takes no report at all. */
  isStoreAway: () => boolean
  onUnavailable: (error: Error) => void
}

// A store that is away must not cost the work that is done: no other job could run in this slot either. One that takes
// heartbeats, but not this report, must not occupy the slot for ever.
const createRetryWhileUnavailable = ({
  forMs, monotonicNow, isEnded, isStoreAway, onUnavailable
}: RetryNeeds): Retry => async report => {
  let end = monotonicNow() + forMs
  for (let trial = 1; ; trial++) {
    try {
      return await report()
    } catch (error) {
      if (!isUnavailable(error) || isEnded()) throw error
      if (isStoreAway()) end = monotonicNow() + forMs
      else if (monotonicNow() > end) throw error
      if (trial === 1) onUnavailable(error as Error)
      await delay(retryPauseMs)
    }
  }
}

const toJobFailure = (reason: unknown): { failure: Failure, retryable: boolean } => {
  if (reason instanceof RunTimedOut) return { failure: timedOut, retryable: true }
  // A cancelled job ends with any failure.
  if (reason instanceof RunCancelled) return { failure: jobCancelled, retryable: false }
  if (reason instanceof ProcessorError) {
    const { code, message, retryable, details } = reason
    const failure = { code, message, ...(details === undefined ? {} : { detailsJson: JSON.stringify(details) }) }
    return { failure, retryable }
  }
  return { failure: { code: 'PROCESSOR_FAILED', message: 'The processor stopped unexpectedly.' }, retryable: true }
}

const isExpected = (reason: unknown): boolean =>
  [RunTimedOut, RunCancelled, ProcessorError].some(kind => reason instanceof kind)

/** For the last report of a run: that its job is another worker's by now, or was erased, is no failure. */
export const ignoreLeaseLost = (error: unknown): void => {
  if (!(error instanceof LeaseLost)) throw error
}

// A run that lost its lease, or was abandoned, reports nothing: the job is another worker's.
const reportEnd = async (runJob: RunJob, claim: Claim, reason: unknown, retry: Retry): Promise<void> => {
  if (reason instanceof LeaseLost || reason instanceof RunAbandoned) return
  if (reason instanceof WorkerStopping) {
    await retry(() => runJob.release(claim)).catch(ignoreLeaseLost)
    return
  }
  const { failure, retryable } = toJobFailure(reason)
  await retry(() => runJob.fail(claim, failure, retryable)).catch(ignoreLeaseLost)
  if (!isExpected(reason)) throw reason
}

/**
 * Runs a claimed job to its end and reports how it ended. `ended` aborts the run, with RunCancelled or WorkerStopping.
 * Rejects when the end could not be reported, and with an error that no processor should throw, once that is reported.
 */
export const runClaim = async (needs: RunClaimNeeds, claim: Claim, ended: AbortController): Promise<void> => {
  const { runJob, pool, leaseMs, monotonicNow } = needs
  const onUnavailable = (error: Error) => { needs.onError(error, claim.jobId) }
  const onLeaseState = ({ cancelRequested }: LeaseState) => { if (cancelRequested) ended.abort(new RunCancelled()) }
  // A store that is unavailable does not end the run: only the loss of its lease does.
  const onReportError = (error: unknown) => { if (error instanceof LeaseLost) ended.abort(error) }
  let isHeartbeatTaken = true
  const sendHeartbeat = () => runJob.heartbeat(claim).then(state => {
    isHeartbeatTaken = true
    onLeaseState(state)
  }, (error: unknown) => {
    isHeartbeatTaken = !isUnavailable(error)
    onReportError(error)
  })
  const heartbeat = setInterval(() => { void sendHeartbeat() }, leaseMs / 3)
  const { timeoutMs } = claim
  const timeout = timeoutMs === null ? undefined : setTimeout(() => { ended.abort(new RunTimedOut()) }, timeoutMs)
  const isEnded = () => ended.signal.aborted
  // Once a run is to end, a drain may wait for its last report.
  const isStoreAway = () => !isHeartbeatTaken && !isEnded()
  const retryNeeds = { monotonicNow, isStoreAway, onUnavailable }
  const retry = createRetryWhileUnavailable({ ...retryNeeds, forMs: leaseMs, isEnded })
  const digest = createResultDigest()
  let content: ContentInfo = { contentType: 'application/octet-stream', fileName: 'result' }
  const reportProgress = async (update: ProgressUpdate) => { onLeaseState(await runJob.progress(claim, update)) }
  const progress = createProgressReporter(reportProgress, onReportError)
  try {
    const { type, input, raw } = claim
    const output = await pool.run({ type, input, rawInput: raw, access: JSON.parse(claim.access) as Access }, {
      signal: ended.signal,
      onProgress: progress.push,
      onOutput: output => { content = output },
      onChunk: async bytes => {
        const sizeAfter = digest.size() + bytes.byteLength
        await retry(() => runJob.append(claim, digest.size(), bytes, content).catch((error: unknown) => {
          // An earlier trial stored the bytes, and its answer was lost.
          if (!(error instanceof OffsetMismatch) || error.offset !== sizeAfter) throw error
        }))
        digest.add(bytes)
      }
    })
    await progress.flushed()
    const { contentType, fileName, message, counts } = output
    const facts = { contentType, fileName, ...digest.facts(contentType) }
    const words = { ...(message === undefined ? {} : { message }), ...(counts === undefined ? {} : { counts }) }
    await retry(() => runJob.complete(claim, { kind: 'appended', facts, ...words }))
  } catch (error) {
    await progress.flushed()
    const forMs = Math.min(leaseMs, retryAtEndMsMax)
    const retryAtEnd = createRetryWhileUnavailable({ ...retryNeeds, forMs, isEnded: () => false })
    await reportEnd(runJob, claim, isEnded() ? ended.signal.reason : error, retryAtEnd)
  } finally {
    clearInterval(heartbeat)
    clearTimeout(timeout)
  }
}
