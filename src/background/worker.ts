import { processors } from '../processors/registry.ts'
import { createProcessorPool } from '../processors/threads/pool.ts'
import type { Claim, ClaimJob } from '../write/claim-job.ts'
import type { RescueJobs } from '../write/rescue-jobs.ts'
import { RunCancelled, runClaim, type RunClaimNeeds, WorkerStopping } from './run-claim.ts'

const claimIntervalMs = 1000

export type WorkerNeeds = RunClaimNeeds & {
  claimJob: ClaimJob
  rescueJobs: RescueJobs
  types: readonly string[]
  /** Jobs at once. */
  slots: number
  /** The name under which this worker holds its leases. */
  holder: string
  /** The names of workers that have ended and left leases behind. */
  staleHolders: readonly string[]
}

/** Claims jobs and runs them with the processors of this process, off the event loop. */
export type Worker = {
  start: () => void
  /** A job was queued: claim now, not at the next interval. */
  wake: () => void
  /** Stops the run of this job, if this worker runs it. */
  cancel: (jobId: string) => void
  /** Lets runs end for `graceMs`, then gives the rest back to the queue. */
  stop: (graceMs: number) => Promise<void>
}

/** Rescues the jobs of workers that have ended, until that has succeeded once. */
const createRescueStale = ({ rescueJobs, staleHolders }: WorkerNeeds) => {
  let isRescued = false
  return async (): Promise<void> => {
    if (!isRescued) for (const stale of staleHolders) await rescueJobs(stale)
    isRescued = true
  }
}

export const createWorker = (needs: WorkerNeeds): Worker => {
  const { claimJob, types, slots, holder, leaseMs, onError } = needs
  const runs = new Map<Promise<void>, { jobId: string, ended: AbortController }>()
  let claiming: Promise<void> | null = null
  let claimAgain = false
  let timer: NodeJS.Timeout | undefined

  const run = (claim: Claim) => {
    const ended = new AbortController()
    const running = runClaim(needs, claim, ended)
      .catch((error: unknown) => { onError(error as Error, claim.jobId) })
      .finally(() => {
        runs.delete(running)
        wake()
      })
    runs.set(running, { jobId: claim.jobId, ended })
  }

  const rescueStale = createRescueStale(needs)
  const claimAvailable = async (): Promise<void> => {
    try {
      await rescueStale()
      do {
        claimAgain = false
        while (runs.size < slots && timer !== undefined) {
          const claim = await claimJob({ types, tenant: null }, holder, leaseMs)
          if (claim === null) break
          run(claim)
        }
      } while (claimAgain)
    } catch (error) {
      onError(error as Error, null)
    } finally {
      // In the turn in which `claimAgain` was read: a wake-up between the two would be lost.
      claiming = null
    }
  }

  const wake = () => {
    if (timer === undefined || slots === 0) return
    claimAgain = true
    claiming ??= claimAvailable()
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
      await claiming
      const grace = setTimeout(() => {
        for (const { ended } of runs.values()) ended.abort(new WorkerStopping())
      }, graceMs)
      await Promise.all(runs.keys())
      clearTimeout(grace)
    }
  }
}

/** A worker with the threads that its jobs run in; `close` ends them once the worker has stopped. */
export type EmbeddedWorker = Worker & { close: () => Promise<void> }

const noWorker: EmbeddedWorker = {
  start: () => {},
  wake: () => {},
  cancel: () => {},
  stop: () => Promise.resolve(),
  close: () => Promise.resolve()
}

/** The worker of a service process, with the processors of the registry; without slots it claims no job. */
export const createEmbeddedWorker = (
  databaseUrl: string, needs: Omit<WorkerNeeds, 'pool' | 'types'>
): EmbeddedWorker => {
  if (needs.slots === 0) return noWorker
  const pool = createProcessorPool({ databaseUrl, threads: needs.slots })
  return { ...createWorker({ ...needs, pool, types: [...processors.keys()] }), close: pool.close }
}
