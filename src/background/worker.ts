import { setTimeout as delay } from 'node:timers/promises'
import { isUnavailable } from '../errors.ts'
import { type Access, ProcessorError } from '../processors/processor.ts'
import type { ProcessorPool } from '../processors/threads/pool.ts'
import type { Failure } from '../job/job.ts'
import { LeaseLost, type LeaseState, OffsetMismatch } from '../job/lease.ts'
import { jobCancelled, timedOut } from '../job/lifecycle.ts'
import type { ProgressUpdate } from '../job/progress.ts'
import type { Claim, ClaimJob } from '../write/claim-job.ts'
import type { RescueJobs } from '../write/rescue-jobs.ts'
import { createResultDigest } from '../write/result-digest.ts'
import type { RunJob } from '../write/run-job.ts'

const claimIntervalMs = 1000
const retryPauseMs = 200
// For the last report of a run; a drain waits for it.
const retryAtEndMsMax = 5000

export type WorkerNeeds = {
  claimJob: ClaimJob
  rescueJobs: RescueJobs
  runJob: RunJob
  pool: ProcessorPool
  types: readonly string[]
  /** Jobs at once. */
  slots: number
  /** The name under which this worker holds its leases. */
  holder: string
  /** Those of workers that have ended without giving theirs back. */
  staleHolders: readonly string[]
  leaseMs: number
  onError: (error: Error, jobId: string | null) => void
}

/** The processors of this process: claims jobs, runs them off the event loop, reports on them. */
export type Worker = {
  start: () => void
  /** Something was queued: no need to wait for the next look. */
  wake: () => void
  /** This job is to stop; nothing happens where another runs it. */
  cancel: (jobId: string) => void
  /** Lets runs end for so long, then gives the rest back to the queue. */
  stop: (graceMs: number) => Promise<void>
}

class RunTimedOut extends Error {}
class WorkerStopping extends Error {}
class RunCancelled extends Error {}

/** Reports progress in turn; while one report is under way only the latest is kept. Losing the lease ends the run. */
const createProgressReporter = (report: (update: ProgressUpdate) => Promise<unknown>, onError: (error: Error) => void) => {
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
    settled: async () => { await underWay }
  }
}

type RetryWhileUnavailable = <Value>(report: () => Promise<Value>) => Promise<Value>

// Reports again to a store that is away, for a while: work that is done must not be lost because the moment was bad,
// and a store that never takes it must not hold the run for ever.
const createRetryWhileUnavailable = (forMs: number, isEnded: () => boolean, onAway: (error: Error) => void): RetryWhileUnavailable => async report => {
  const end = performance.now() + forMs
  for (let trial = 1; ; trial++) {
    try {
      return await report()
    } catch (error) {
      if (!isUnavailable(error) || isEnded() || performance.now() > end) throw error
      if (trial === 1) onAway(error as Error)
      await delay(retryPauseMs)
    }
  }
}

type RunNeeds = Pick<WorkerNeeds, 'runJob' | 'pool' | 'leaseMs' | 'onError'>

// Runs one claimed job to its end, and reports that end. Rejects only when the end could not be reported.
const runClaim = async ({ runJob, pool, leaseMs, onError }: RunNeeds, claim: Claim, ended: AbortController, stopping: AbortSignal): Promise<void> => {
  const onAway = (error: Error) => { onError(error, claim.jobId) }
  const abort = (error: unknown) => { ended.abort(error) }
  const onState = ({ cancelRequested }: LeaseState) => { if (cancelRequested) abort(new RunCancelled()) }
  // A store that is away for a moment takes no lease away.
  const onReportFailed = (error: unknown) => { if (error instanceof LeaseLost) abort(error) }
  const heartbeat = setInterval(() => { runJob.heartbeat(claim).then(onState, onReportFailed) }, leaseMs / 3)
  const timeout = claim.timeoutMs === null ? undefined : setTimeout(() => { abort(new RunTimedOut()) }, claim.timeoutMs)
  const onStopping = () => { abort(new WorkerStopping()) }
  stopping.addEventListener('abort', onStopping)
  const insist = createRetryWhileUnavailable(leaseMs, () => ended.signal.aborted, onAway)
  const tally = createResultDigest()
  let kind = { contentType: 'application/octet-stream', fileName: 'result' }
  const progress = createProgressReporter(async update => { onState(await runJob.progress(claim, update)) }, onReportFailed)
  try {
    const { type, input, raw } = claim
    const output = await pool.run({ type, input, rawInput: raw, access: JSON.parse(claim.access) as Access }, {
      signal: ended.signal,
      onProgress: progress.push,
      onOutput: output => { kind = output },
      onChunk: async bytes => {
        const sizeAfter = tally.size() + bytes.byteLength
        await insist(() => runJob.append(claim, tally.size(), bytes, kind).catch((error: unknown) => {
          // A trial before this one was stored, and failed only then.
          if (!(error instanceof OffsetMismatch) || error.offset !== sizeAfter) throw error
        }))
        tally.add(bytes)
      }
    })
    await progress.settled()
    const { contentType, fileName, message, counts } = output
    const facts = { contentType, fileName, ...tally.facts(contentType) }
    const words = { ...(message === undefined ? {} : { message }), ...(counts === undefined ? {} : { counts }) }
    await insist(() => runJob.complete(claim, { kind: 'appended', facts, ...words }))
  } catch (error) {
    await progress.settled()
    const insistAtEnd = createRetryWhileUnavailable(Math.min(leaseMs, retryAtEndMsMax), () => false, onAway)
    await reportEnd(runJob, claim, ended.signal.aborted ? ended.signal.reason : error, insistAtEnd)
  } finally {
    clearInterval(heartbeat)
    clearTimeout(timeout)
    stopping.removeEventListener('abort', onStopping)
  }
}

const toFailure = (reason: unknown): { failure: Failure, retryable: boolean } => {
  if (reason instanceof RunTimedOut) return { failure: timedOut, retryable: true }
  // To a job that was cancelled any failure is the end.
  if (reason instanceof RunCancelled) return { failure: jobCancelled, retryable: false }
  if (reason instanceof ProcessorError) {
    const { code, message, retryable, details } = reason
    return { failure: details === undefined ? { code, message } : { code, message, details }, retryable }
  }
  return { failure: { code: 'PROCESSOR_FAILED', message: 'The processor stopped unexpectedly.' }, retryable: true }
}

const isForeseen = (reason: unknown): boolean =>
  [RunTimedOut, RunCancelled, ProcessorError].some(kind => reason instanceof kind)

const reportEnd = async (runJob: RunJob, claim: Claim, reason: unknown, insist: RetryWhileUnavailable): Promise<void> => {
  if (reason instanceof LeaseLost) return
  if (reason instanceof WorkerStopping) {
    await insist(() => runJob.release(claim))
    return
  }
  const { failure, retryable } = toFailure(reason)
  await insist(() => runJob.fail(claim, failure, retryable))
  if (!isForeseen(reason)) throw reason
}

export const createWorker = (needs: WorkerNeeds): Worker => {
  const { claimJob, rescueJobs, types, slots, holder, staleHolders, leaseMs, onError } = needs
  const stopping = new AbortController()
  const runs = new Map<Promise<void>, { jobId: string, ended: AbortController }>()
  let looking: Promise<void> | null = null
  let lookAgain = false
  let hasTakenOver = false
  let timer: NodeJS.Timeout | undefined

  const run = (claim: Claim) => {
    const ended = new AbortController()
    const running = runClaim(needs, claim, ended, stopping.signal)
      .catch((error: unknown) => { onError(error as Error, claim.jobId) })
      .finally(() => {
        runs.delete(running)
        wake()
      })
    runs.set(running, { jobId: claim.jobId, ended })
  }

  const takeOver = async (): Promise<void> => {
    if (!hasTakenOver) for (const dead of staleHolders) await rescueJobs(dead)
    hasTakenOver = true
  }

  const look = async (): Promise<void> => {
    await takeOver()
    do {
      lookAgain = false
      while (runs.size < slots && !stopping.signal.aborted && timer !== undefined) {
        const claim = await claimJob({ types, tenant: null }, holder, leaseMs)
        if (claim === null) break
        run(claim)
      }
    } while (lookAgain)
  }

  const wake = () => {
    if (timer === undefined || slots === 0) return
    lookAgain = true
    looking ??= look()
      .catch((error: unknown) => { onError(error as Error, null) })
      .finally(() => { looking = null })
  }

  return {
    start: () => {
      timer = setInterval(wake, claimIntervalMs).unref()
      wake()
    },
    wake,
    cancel: jobId => {
      for (const run of runs.values()) if (run.jobId === jobId) run.ended.abort(new RunCancelled())
    },
    stop: async graceMs => {
      clearInterval(timer)
      timer = undefined
      await looking
      const patience = setTimeout(() => { stopping.abort() }, graceMs)
      await Promise.all(runs.keys())
      clearTimeout(patience)
    }
  }
}
