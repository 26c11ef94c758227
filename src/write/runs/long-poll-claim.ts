import type { Schedule } from '../../schedule.ts'
import type { ClaimFilter } from '../../store/store.ts'
import type { Claim, ClaimJob } from './claim-job.ts'
import type { RunJob } from './run-job.ts'

/**
 * Claims for workers that wait for a job in place of polling. A new job wakes the waiter that has waited longest.
 * Waiters also check the queue every second, for jobs that wake no one: those whose retry is due, or that another
 * process took in.
 */
export type LongPollClaim = {
  /**
   * As ClaimJob, but returns null only after `waitMs`, or once `signal` is aborted or the service drains. A job that
   * was claimed for a worker that has gone meanwhile returns to the queue.
   */
  claim: (
    filter: ClaimFilter, holder: string, leaseMs: number, waitMs: number, signal: AbortSignal
  ) => Promise<Claim | null>
  /** A job of this type and tenant was queued. */
  wake: (type: string, tenant: string) => void
  /** Ends every wait; from now on a claim that finds no job returns at once. */
  endWaits: () => void
  /** Ends every wait; no claim succeeds from now on. */
  stop: () => void
}

export type LongPollClaimNeeds = {
  claim: ClaimJob
  release: RunJob['release']
  /** ms of a clock that only goes forward. */
  monotonicNow: () => number
  schedule: Schedule
}

const recheckMs = 1000

/** A job that was queued. `tenant` null: of any tenant. */
type QueuedNotice = { type: string, tenant: string | null }

/** `notice`: a job that was queued since the waiter last checked the queue. */
type Waiter = { filter: ClaimFilter, notice: QueuedNotice | null, resume: () => void }

const matches = ({ types, tenant }: ClaimFilter, notice: QueuedNotice): boolean =>
  types.includes(notice.type) && (tenant === null || notice.tenant === null || tenant === notice.tenant)

export const createLongPollClaim = ({ claim, release, monotonicNow, schedule }: LongPollClaimNeeds): LongPollClaim => {
  const waiters = new Set<Waiter>()
  let [areWaitsOver, stopped] = [false, false]

  // One job wakes one waiter: the first that has no notice of another job yet.
  const notify = (notice: QueuedNotice): void => {
    for (const waiter of waiters) {
      if (waiter.notice !== null || !matches(waiter.filter, notice)) continue
      waiter.notice = notice
      return waiter.resume()
    }
  }

  // Resolves when the waiter has to check the queue again.
  const pause = (waiter: Waiter, ms: number, signal: AbortSignal): Promise<void> => new Promise(resolve => {
    if (waiter.notice !== null || signal.aborted || areWaitsOver) return resolve()
    const timer = schedule(() => { waiter.resume() }, ms)
    waiter.resume = () => {
      timer.cancel()
      signal.removeEventListener('abort', waiter.resume)
      resolve()
    }
    signal.addEventListener('abort', waiter.resume)
  })

  const giveBack = async (claimed: Claim, { tenant }: ClaimFilter): Promise<void> => {
    await release(claimed)
    notify({ type: claimed.type, tenant })
  }

  const endWaits = (): void => {
    areWaitsOver = true
    for (const { resume } of waiters) resume()
  }

  return {
    claim: async (filter, holder, leaseMs, waitMs, signal) => {
      const deadline = monotonicNow() + waitMs
      const waiter: Waiter = { filter, notice: null, resume: () => {} }
      if (waitMs > 0) waiters.add(waiter)
      try {
        // A worker that has gone must not be given a job.
        while (!signal.aborted && !stopped) {
          waiter.notice = null
          const claimed = await claim(filter, holder, leaseMs)
          if (claimed !== null && signal.aborted) await giveBack(claimed, filter)
          else if (claimed !== null) return claimed
          const leftMs = deadline - monotonicNow()
          if (leftMs <= 0 || areWaitsOver) return null
          await pause(waiter, Math.min(recheckMs, leftMs), signal)
        }
        return null
      } finally {
        waiters.delete(waiter)
        // A notice that the waiter did not act on is for another waiter.
        if (waiter.notice !== null) notify(waiter.notice)
      }
    },
    wake: (type, tenant) => { notify({ type, tenant }) },
    endWaits,
    stop: () => {
      stopped = true
      endWaits()
    }
  }
}
