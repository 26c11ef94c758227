import { setImmediate as nextTurn } from 'node:timers/promises'
import type { JobLookup } from '../job/job.ts'
import { type JobEvent, timedOut } from '../job/lifecycle.ts'
import { findJob } from '../store/job-store.ts'
import { type Abandoned, clearCancelDue, findAbandoned, type QueueItem } from '../store/queue.ts'
import type { Write } from '../store/transact.ts'
import { applyEvent, settleForeignChange, toOwnJob } from './apply-event.ts'
import type { ClaimJobNeeds } from './claim-job.ts'

/**
 * Ends the runs that nobody ends: those whose lease ran out (or, with `holder`, that one left behind), that took longer
 * than they may, or that did not stop when told to. Returns how many. Throws STORE_UNAVAILABLE.
 */
export type RescueJobs = (holder?: string) => Promise<number>

const rescuedAtOnceMax = 10

const toEvent = (by: Abandoned, { maxAttempts }: QueueItem, at: number): JobEvent => {
  if ('deadlineAt' in by) return { type: 'fail', at, failure: timedOut, retryable: true, maxAttempts }
  return 'cancelDueAt' in by ? { type: 'cancel-forced', at } : { type: 'rescue', at, maxAttempts }
}

// Another program took back the wish to cancel: the run goes on under its lease.
const isRunning = async (write: Write, { jobId }: QueueItem): Promise<boolean> =>
  toOwnJob(await findJob(write, jobId))?.state === 'running'

export const createRescueJobs = ({ transact, queue, expose, now, onTransition }: Omit<ClaimJobNeeds, 'randomId' | 'release'>): RescueJobs => {
  const rescueSome = async (by: Abandoned): Promise<number> => {
    const rescued = await transact(async write => {
      const rescued: Array<{ lookup: JobLookup, event: JobEvent }> = []
      for (const item of await findAbandoned(write, by, rescuedAtOnceMax)) {
        const event = toEvent(by, item, now())
        const lookup = await applyEvent(write, item, event, now())
        if (lookup !== undefined) rescued.push({ lookup, event })
        else if ('cancelDueAt' in by && await isRunning(write, item)) await clearCancelDue(write, item.jobId)
        else await settleForeignChange(write, item.jobId, now())
      }
      return rescued
    })
    await Promise.all(rescued.map(({ lookup }) => expose(lookup)))
    for (const { lookup, event } of rescued) if (lookup.kind === 'job') onTransition(lookup.job, event.type)
    return rescued.length
  }
  return async holder => {
    const at = now()
    const causes: Abandoned[] = holder === undefined
      // Cancellations first: what was told to stop is not queued again.
      ? [{ cancelDueAt: at }, { leaseExpiredAt: at }, { deadlineAt: at }]
      : [{ holder }]
    let total = 0
    for (const by of causes) {
      while (queue.hasAbandoned(by)) {
        total += await rescueSome(by)
        // Without a turn for the event loop nothing else would happen until all are rescued.
        await nextTurn()
      }
    }
    return total
  }
}
