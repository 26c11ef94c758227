import { processors } from '../processors/registry.ts'
import { createProcessorPool } from '../processors/threads/pool.ts'
import type { Schedule } from '../schedule.ts'
import type { Claim, ClaimJob } from '../write/runs/claim-job.ts'
import type { RescueJobs } from '../write/runs/rescue-jobs.ts'
import { createRounds } from './rounds.ts'
import { ignoreLeaseLost, RunAbandoned, RunCancelled, runClaim, type RunClaimNeeds, WorkerStopping } from './run-claim.ts'

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
  /** The claims that another worker of this process has abandoned. */
  abandoned: readonly Claim[]
}

/** Claims jobs and runs them with the processors of this process, off the event loop. */
export type Worker = {
  start: () => void
  /** A job of this type is about to be queued. */
  prepare: (type: string, isRaw: boolean) => void
  /** A job was queued: claim now, not at the next interval. */
  wake: () => void
  /** Stops the run of this job, if this worker runs it. */
  cancel: (jobId: string) => void
  /** Lets runs end for `graceMs`, then gives the rest back to the queue. */
  stop: (graceMs: number) => Promise<void>
  /** Ends all runs, and reports nothing. Returns their claims, for the next worker of this process to release. */
  abandon: () => readonly Claim[]
}

/** Releases and rescues what earlier workers have left; a call that fails is to be repeated. `left`: what is to be released. */
const createTakeover = ({ runJob, rescueJobs, abandoned, staleHolders }: WorkerNeeds) => {
  const claims = [...abandoned]
  const holders = [...staleHolders]
  return {
    left: (): readonly Claim[] => claims,
    run: async (): Promise<void> => {
      for (let claim = claims[0]; claim !== undefined; claim = claims[0]) {
        await runJob.release(claim).catch(ignoreLeaseLost)
        claims.shift()
      }
      for (let holder = holders[0]; holder !== undefined; holder = holders[0]) {
        await rescueJobs(holder)
        holders.shift()
      }
    }
  }
}

/** The runs of a worker; `onEnd` is called after each. */
const createRuns = (needs: WorkerNeeds, onEnd: () => void) => {
  const runs = new Map<Promise<void>, { claim: Claim, ended: AbortController }>()
  return {
    count: () => runs.size,
    begin: (claim: Claim): void => {
      const ended = new AbortController()
      const running = runClaim(needs, claim, ended)
        .catch((error: unknown) => { needs.onError(error as Error, claim.jobId) })
        .finally(() => {
          runs.delete(running)
          onEnd()
        })
      runs.set(running, { claim, ended })
    },
    /** Ends all of them, or that of one job. Returns their claims. */
    abort: (reason: Error, jobId?: string): Claim[] => {
      const aborted = [...runs.values()].filter(({ claim }) => jobId === undefined || claim.jobId === jobId)
      for (const { ended } of aborted) ended.abort(reason)
      return aborted.map(({ claim }) => claim)
    },
    allEnded: () => Promise.all(runs.keys())
  }
}

export const createWorker = (needs: WorkerNeeds): Worker => {
  const { claimJob, pool, types, slots, holder, leaseMs, onError } = needs
  const takeover = createTakeover(needs)
  let isAbandoned = false
  let timer: NodeJS.Timeout | undefined

  const rounds = createRounds(async () => {
    try {
      await takeover.run()
      while (runs.count() < slots && timer !== undefined) {
        const claim = await claimJob({ types, tenant: null }, holder, leaseMs)
        if (claim === null || isAbandoned) break
        runs.begin(claim)
      }
    } catch (error) {
      onError(error as Error, null)
    }
  })

  const wake = () => { if (timer !== undefined && slots > 0) void rounds.wake() }
  const runs = createRuns(needs, wake)

  const rest = () => {
    clearInterval(timer)
    timer = undefined
  }

  return {
    start: () => {
      timer = setInterval(wake, claimIntervalMs).unref()
      wake()
    },
    // The thread of a first job starts while the job is committed and claimed.
    prepare: (type, isRaw) => { if (timer !== undefined && types.includes(type)) pool.prepare(type, isRaw) },
    wake,
    cancel: jobId => { runs.abort(new RunCancelled(), jobId) },
    stop: async graceMs => {
      rest()
      await rounds.ended()
      const grace = setTimeout(() => { runs.abort(new WorkerStopping()) }, graceMs)
      await runs.allEnded()
      clearTimeout(grace)
    },
    abandon: () => {
      rest()
      isAbandoned = true
      return [...takeover.left(), ...runs.abort(new RunAbandoned())]
    }
  }
}

/** A worker with the threads that its jobs run in; `close` ends them once the worker has stopped. */
export type EmbeddedWorker = Worker & { close: () => Promise<void> }

const noWorker: EmbeddedWorker = {
  start: () => {},
  prepare: () => {},
  wake: () => {},
  cancel: () => {},
  stop: () => Promise.resolve(),
  abandon: () => [],
  close: () => Promise.resolve()
}

/** The worker of a service process, with the processors of the registry; without slots it claims no job. */
export const createEmbeddedWorker = (
  databaseUrl: string, needs: Omit<WorkerNeeds, 'pool' | 'types'> & { schedule: Schedule }
): EmbeddedWorker => {
  if (needs.slots === 0) return noWorker
  const pool = createProcessorPool({ databaseUrl, threads: needs.slots, schedule: needs.schedule, processors })
  return { ...createWorker({ ...needs, pool, types: [...processors.keys()] }), close: pool.close }
}
