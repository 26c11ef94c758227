import type { Claim, ClaimJob } from './claim-job.ts'
import type { Reach } from '../store/queue.ts'
import type { RunJob } from './run-job.ts'

/**
 * Claims for workers that would rather wait than ask again. Whoever has waited longest is told first of a new job; one
 * that nobody was told of (whose retry is due, or that another process took in) is found at the next look.
 */
export type AwaitClaim = {
  /**
   * As ClaimJob, but null only after `waitMs`, or once `signal` is aborted or the service drains. What was claimed for
   * one who is gone by then goes back to the queue.
   */
  claim: (reach: Reach, holder: string, leaseMs: number, waitMs: number, signal: AbortSignal) => Promise<Claim | null>
  /** A job of this type and tenant can be had. */
  wake: (type: string, tenant: string) => void
  /** Lets everybody go who waits; nobody is given a job any more. */
  stop: () => void
}

export type AwaitClaimNeeds = {
  claim: ClaimJob
  release: RunJob['release']
  /** ms of a clock that only goes forward. */
  monotonicNow: () => number
  /** Calls back after some ms unless cancelled. */
  schedule: (work: () => void, ms: number) => { cancel: () => void }
}

const lookAgainMs = 1000

/** `tenant` null: of whichever. */
type News = { type: string, tenant: string | null }

/** `news`: a job that came in since the look that is under way, or the next one, began. */
type Waiter = { reach: Reach, news: News | null, resume: () => void }

const concerns = ({ types, tenant }: Reach, news: News): boolean =>
  types.includes(news.type) && (tenant === null || news.tenant === null || tenant === news.tenant)

export const createAwaitClaim = ({ claim, release, monotonicNow, schedule }: AwaitClaimNeeds): AwaitClaim => {
  const waiters = new Set<Waiter>()
  let stopped = false

  // One job is for one of them: the first that was not told of another.
  const tell = (news: News): void => {
    for (const waiter of waiters) {
      if (waiter.news !== null || !concerns(waiter.reach, news)) continue
      waiter.news = news
      return waiter.resume()
    }
  }

  // Resolves when there is reason to look again.
  const pause = (waiter: Waiter, ms: number, signal: AbortSignal): Promise<void> => new Promise(resolve => {
    if (waiter.news !== null || signal.aborted || stopped) return resolve()
    const timer = schedule(() => { waiter.resume() }, ms)
    waiter.resume = () => {
      timer.cancel()
      signal.removeEventListener('abort', waiter.resume)
      resolve()
    }
    signal.addEventListener('abort', waiter.resume)
  })

  const giveBack = async (claimed: Claim, { tenant }: Reach): Promise<void> => {
    await release(claimed)
    tell({ type: claimed.type, tenant })
  }

  return {
    claim: async (reach, holder, leaseMs, waitMs, signal) => {
      const deadline = monotonicNow() + waitMs
      const waiter: Waiter = { reach, news: null, resume: () => {} }
      if (waitMs > 0) waiters.add(waiter)
      try {
        // Whoever is gone must not be given a job.
        while (!signal.aborted && !stopped) {
          waiter.news = null
          const claimed = await claim(reach, holder, leaseMs)
          if (claimed !== null && signal.aborted) await giveBack(claimed, reach)
          else if (claimed !== null) return claimed
          const leftMs = deadline - monotonicNow()
          if (leftMs <= 0) return null
          await pause(waiter, Math.min(lookAgainMs, leftMs), signal)
        }
        return null
      } finally {
        waiters.delete(waiter)
        // What it was told of, and did not look for, is for another.
        if (waiter.news !== null) tell(waiter.news)
      }
    },
    wake: (type, tenant) => { tell({ type, tenant }) },
    stop: () => {
      stopped = true
      for (const { resume } of waiters) resume()
    }
  }
}
