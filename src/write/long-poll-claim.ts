import type { Claim, ClaimJob } from './claim-job.ts'
import type { ClaimFilter } from '../store/store.ts'
import type { RunJob } from './run-job.ts'

/**
 * Claims for workers that would rather wait than ask again. Whoever has waited longest is told first of a new job; one
 * that nobody was told of (whose retry is due, or that another process took in) is found at the next look.
 */
export type LongPollClaim = {
  /**
   * As ClaimJob, but null only after `waitMs`, or once `signal` is aborted or the service drains. What was claimed for
   * one who is gone by then goes back to the queue.
   */
  claim: (reach: ClaimFilter, holder: string, leaseMs: number, waitMs: number, signal: AbortSignal) => Promise<Claim | null>
  /** A job of this type and tenant can be had. */
  wake: (type: string, tenant: string) => void
  /** Lets everybody go who waits; nobody is given a job any more. */
  stop: () => void
}

export type LongPollClaimNeeds = {
  claim: ClaimJob
  release: RunJob['release']
  /** ms of a clock that only goes forward. */
  monotonicNow: () => number
  /** Calls back after some ms unless cancelled. */
  schedule: (work: () => void, ms: number) => { cancel: () => void }
}

const recheckMs = 1000

/** `tenant` null: of whichever. */
type QueuedNotice = { type: string, tenant: string | null }

/** `news`: a job that came in since the look that is under way, or the next one, began. */
type Waiter = { reach: ClaimFilter, notice: QueuedNotice | null, resume: () => void }

const concerns = ({ types, tenant }: ClaimFilter, notice: QueuedNotice): boolean =>
  types.includes(notice.type) && (tenant === null || notice.tenant === null || tenant === notice.tenant)

export const createLongPollClaim = ({ claim, release, monotonicNow, schedule }: LongPollClaimNeeds): LongPollClaim => {
  const waiters = new Set<Waiter>()
  let stopped = false

  // One job is for one of them: the first that was not told of another.
  const notify = (notice: QueuedNotice): void => {
    for (const waiter of waiters) {
      if (waiter.notice !== null || !concerns(waiter.reach, notice)) continue
      waiter.notice = notice
      return waiter.resume()
    }
  }

  // Resolves when there is reason to look again.
  const pause = (waiter: Waiter, ms: number, signal: AbortSignal): Promise<void> => new Promise(resolve => {
    if (waiter.notice !== null || signal.aborted || stopped) return resolve()
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

  return {
    claim: async (reach, holder, leaseMs, waitMs, signal) => {
      const deadline = monotonicNow() + waitMs
      const waiter: Waiter = { reach, notice: null, resume: () => {} }
      if (waitMs > 0) waiters.add(waiter)
      try {
        // Whoever is gone must not be given a job.
        while (!signal.aborted && !stopped) {
          waiter.notice = null
          const claimed = await claim(reach, holder, leaseMs)
          if (claimed !== null && signal.aborted) await giveBack(claimed, reach)
          else if (claimed !== null) return claimed
          const leftMs = deadline - monotonicNow()
          if (leftMs <= 0) return null
          await pause(waiter, Math.min(recheckMs, leftMs), signal)
        }
        return null
      } finally {
        waiters.delete(waiter)
        // What it was told of, and did not look for, is for another.
        if (waiter.notice !== null) notify(waiter.notice)
      }
    },
    wake: (type, tenant) => { notify({ type, tenant }) },
    stop: () => {
      stopped = true
      for (const { resume } of waiters) resume()
    }
  }
}
