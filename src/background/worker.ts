import { createHash } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { ServiceFailure } from '../errors.ts'
import { type Access, ProcessorError } from '../processors/processor.ts'
import type { ProcessorPool } from '../processors/pool.ts'
import type { ProgressUpdate } from '../job/progress.ts'
import { type Claim, LeaseLost, type RunJob } from '../write/run-job.ts'

/** The name under which the embedded worker holds its leases. */
export const embeddedHolder = 'embedded'

const inlineBytesMax = 16 * 1024
const lookIntervalMs = 1000
const insistPauseMs = 200
// For the last report of a run; a drain waits for it.
const insistAtEndMsMax = 5000

export type WorkerNeeds = {
  runJob: RunJob
  pool: ProcessorPool
  types: readonly string[]
  /** Jobs at once. */
  slots: number
  leaseMs: number
  onError: (error: Error, jobId: string | null) => void
}

/** The processors of this process: claims jobs, runs them off the event loop, reports on them. */
export type Worker = {
  start: () => void
  /** Something was queued: no need to wait for the next look. */
  wake: () => void
  /** Lets runs end for so long, then gives the rest back to the queue. */
  stop: (graceMs: number) => Promise<void>
}

class RunTimedOut extends Error {}
class WorkerStopping extends Error {}

/** Collects what is told of a result while its bytes go by. */
const createTally = () => {
  const hash = createHash('sha256')
  let sizeBytes = 0
  let head: Uint8Array | null = null
  const inlineJson = (contentType: string): string | null => {
    if (head === null || sizeBytes > inlineBytesMax || !/^application\/json\b/.test(contentType)) return null
    try {
      const text = Buffer.from(head).toString('utf8')
      JSON.parse(text)
      return text
    } catch {
      return null
    }
  }
  return {
    size: () => sizeBytes,
    add: (bytes: Uint8Array) => {
      hash.update(bytes)
      if (sizeBytes === 0) head = bytes
      sizeBytes += bytes.byteLength
    },
    facts: (contentType: string) => ({ sizeBytes, sha256: hash.digest('base64'), inlineJson: inlineJson(contentType) })
  }
}

/** Reports progress in turn; while one report is under way only the latest is kept. Losing the lease ends the run. */
const createProgressReporter = (report: (update: ProgressUpdate) => Promise<void>, onError: (error: Error) => void) => {
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

type Insist = <Value>(report: () => Promise<Value>) => Promise<Value>

// Reports again to a store that is away, for a while: work that is done must not be lost because the moment was bad,
// and a store that never takes it must not hold the run for ever.
const createInsist = (forMs: number, isEnded: () => boolean, onAway: (error: Error) => void): Insist => async report => {
  const end = performance.now() + forMs
  for (let trial = 1; ; trial++) {
    try {
      return await report()
    } catch (error) {
      const isAway = error instanceof ServiceFailure && error.code === 'STORE_UNAVAILABLE'
      if (!isAway || isEnded() || performance.now() > end) throw error
      if (trial === 1) onAway(error)
      await delay(insistPauseMs)
    }
  }
}

// Runs one claimed job to its end, and reports that end. Rejects only when the end could not be reported.
const runClaim = async (needs: Omit<WorkerNeeds, 'slots' | 'types'>, claim: Claim, stopping: AbortSignal): Promise<void> => {
  const { runJob, pool, leaseMs, onError } = needs
  const onAway = (error: Error) => { onError(error, claim.jobId) }
  const ended = new AbortController()
  const abort = (error: unknown) => { ended.abort(error) }
  // A store that is away for a moment takes no lease away.
  const onHeartbeatFailed = (error: unknown) => { if (error instanceof LeaseLost) abort(error) }
  const heartbeat = setInterval(() => { runJob.heartbeat(claim, leaseMs).catch(onHeartbeatFailed) }, leaseMs / 3)
  const timeout = claim.timeoutMs === null ? undefined : setTimeout(() => { abort(new RunTimedOut()) }, claim.timeoutMs)
  const onStopping = () => { abort(new WorkerStopping()) }
  stopping.addEventListener('abort', onStopping)
  const insist = createInsist(leaseMs, () => ended.signal.aborted, onAway)
  const tally = createTally()
  const progress = createProgressReporter(
    update => runJob.progress(claim, update),
    error => { if (error instanceof LeaseLost) abort(error) }
  )
  try {
    const output = await pool.run({ type: claim.type, input: claim.input, access: JSON.parse(claim.access) as Access }, {
      signal: ended.signal,
      onProgress: progress.push,
      onChunk: async bytes => {
        await insist(() => runJob.append(claim, tally.size(), bytes))
        tally.add(bytes)
      }
    })
    await progress.settled()
    const { contentType, fileName, message } = output
    const completion = { contentType, fileName, ...tally.facts(contentType), ...(message === undefined ? {} : { message }) }
    await insist(() => runJob.complete(claim, completion))
  } catch (error) {
    await progress.settled()
    const insistAtEnd = createInsist(Math.min(leaseMs, insistAtEndMsMax), () => false, onAway)
    await reportEnd(runJob, claim, ended.signal.aborted ? ended.signal.reason : error, insistAtEnd)
  } finally {
    clearInterval(heartbeat)
    clearTimeout(timeout)
    stopping.removeEventListener('abort', onStopping)
  }
}

const reportEnd = async (runJob: RunJob, claim: Claim, reason: unknown, insist: Insist): Promise<void> => {
  if (reason instanceof LeaseLost) return
  if (reason instanceof WorkerStopping) return await insist(() => runJob.release(claim))
  if (reason instanceof RunTimedOut) {
    return await insist(() => runJob.fail(claim, { code: 'TIMEOUT', message: 'The run took longer than timeoutSeconds.' }, true))
  }
  if (reason instanceof ProcessorError) {
    const { code, message, retryable, details } = reason
    const failure = details === undefined ? { code, message } : { code, message, details }
    return await insist(() => runJob.fail(claim, failure, retryable))
  }
  await insist(() => runJob.fail(claim, { code: 'PROCESSOR_FAILED', message: 'The processor stopped unexpectedly.' }, true))
  throw reason
}

export const createWorker = (needs: WorkerNeeds): Worker => {
  const { runJob, types, slots, leaseMs, onError } = needs
  const stopping = new AbortController()
  const runs = new Set<Promise<void>>()
  let looking: Promise<void> | null = null
  let lookAgain = false
  let hasTakenOver = false
  let timer: NodeJS.Timeout | undefined

  const run = (claim: Claim) => {
    const running = runClaim(needs, claim, stopping.signal)
      .catch((error: unknown) => { onError(error as Error, claim.jobId) })
      .finally(() => {
        runs.delete(running)
        wake()
      })
    runs.add(running)
  }

  // Nobody else works on this database, so what an embedded worker held before this one began is held by nobody.
  const takeOver = async (): Promise<void> => {
    if (!hasTakenOver) await runJob.rescue(embeddedHolder)
    hasTakenOver = true
  }

  const look = async (): Promise<void> => {
    await takeOver()
    do {
      lookAgain = false
      while (runs.size < slots && !stopping.signal.aborted && timer !== undefined) {
        const claim = await runJob.claim(types, embeddedHolder, leaseMs)
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
      timer = setInterval(wake, lookIntervalMs).unref()
      wake()
    },
    wake,
    stop: async graceMs => {
      clearInterval(timer)
      timer = undefined
      await looking
      const patience = setTimeout(() => { stopping.abort() }, graceMs)
      await Promise.all(runs)
      clearTimeout(patience)
    }
  }
}
