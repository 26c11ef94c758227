import { setImmediate as nextTurn } from 'node:timers/promises'
import type { JobLookup } from '../job/job.ts'
import { type JobEvent, timedOut } from '../job/lifecycle.ts'
import { findJob } from '../store/tx/jobs.ts'
import type { StuckBy, QueueItem, Tx } from '../store/store.ts'
import { clearCancelDue, findStuck } from '../store/tx/queue.ts'
import { applyEvent, reconcileForeignChange, toOwnJob } from './apply-event.ts'
import type { ClaimJobNeeds } from './claim-job.ts'

/**
 * Ends the runs that nobody ends: those whose lease ran out (or, with `holder`, that one left behind), that took longer
 * than they may, or that did not stop when told to. Returns how many. Throws STORE_UNAVAILABLE.
 */
export type RescueJobs = (holder?: string) => Promise<number>

const rescuedAtOnceMax = 10

const toEvent = (by: StuckBy, { maxAttempts }: QueueItem, at: number): JobEvent => {
  if ('deadlineAt' in by) return { type: 'fail', at, failure: timedOut, retryable: true, maxAttempts }
  return 'cancelDueAt' in by ? { type: 'cancel-forced', at } : { type: 'rescue', at, maxAttempts }
}

// Another program took back the wish to cancel: the run goes on under its lease.
const isRunning = async (tx: Tx, { jobId }: QueueItem): Promise<boolean> =>
  toOwnJob(await findJob(tx, jobId))?.state === 'running'

export const createRescueJobs = ({ transact, queue, expose, now, onTransition }: Omit<ClaimJobNeeds, 'randomId' | 'release'>): RescueJobs => {
  const rescueSome = async (by: StuckBy): Promise<number> => {
    const rescued = await transact(async tx => {
      const rescued: Array<{ lookup: JobLookup, event: JobEvent }> = []
      for (const item of await findStuck(tx, by, rescuedAtOnceMax)) {
        const event = toEvent(by, item, now())
        const lookup = await applyEvent(tx, item, event, now())
        if (lookup !== undefined) rescued.push({ lookup, event })
        else if ('cancelDueAt' in by && await isRunning(tx, item)) await clearCancelDue(tx, item.jobId)
        else await reconcileForeignChange(tx, item.jobId, now())
      }
      return rescued
    })
    await Promise.all(rescued.map(({ lookup }) => expose(lookup)))
    for (const { lookup, event } of rescued) if (lookup.kind === 'job') onTransition(lookup.job, event.type)
    return rescued.length
  }
  return async holder => {
    const at = now()
    const causes: StuckBy[] = holder === undefined
      // Cancellations first: what was told to stop is not queued again.
      ? [{ cancelDueAt: at }, { leaseExpiredAt: at }, { deadlineAt: at }]
      : [{ holder }]
    let total = 0
    for (const by of causes) {
      while (await queue.hasStuck(by)) {
        total += await rescueSome(by)
        // Without a turn for the event loop nothing else would happen until all are rescued.
        await nextTurn()
      }
    }
    return total
  }
}
