import { setImmediate as nextTurn } from 'node:timers/promises'
import { type JobEvent, timedOut } from '../job/lifecycle.ts'
import type { QueueItem, QueueReader, StuckBy, Tx } from '../store/store.ts'
import { findJob } from '../store/tx/jobs.ts'
import { clearCancelDue, findStuck } from '../store/tx/queue.ts'
import { applyEvent, reconcileForeignChange, toOwnJob } from './apply-event.ts'
import type { ChangedJob, CommandNeeds } from './commit.ts'

/**
 * Ends the runs that their workers did not end: those whose lease ran out (or, with `holder`, those of that holder),
 * that exceeded their timeout, or that did not stop after a cancellation. Returns how many. Throws STORE_UNAVAILABLE.
 */
export type RescueJobs = (holder?: string) => Promise<number>

export type RescueJobsNeeds = CommandNeeds & { queue: QueueReader }

const rescuedAtOnceMax = 10

const toEvent = (by: StuckBy, { maxAttempts }: QueueItem, at: number): JobEvent => {
  if ('deadlineAt' in by) return { type: 'fail', at, failure: timedOut, retryable: true, maxAttempts }
  return 'cancelDueAt' in by ? { type: 'cancel-forced', at } : { type: 'rescue', at, maxAttempts }
}

// Another program withdrew the cancellation: the run goes on under its lease.
const isRunning = async (tx: Tx, { jobId }: QueueItem): Promise<boolean> =>
  toOwnJob(await findJob(tx, jobId))?.state === 'running'

export const createRescueJobs = ({ commit, now, queue }: RescueJobsNeeds): RescueJobs => {
  const rescueSome = async (by: StuckBy): Promise<number> => {
    const { entries } = await commit(async tx => {
      const changes: ChangedJob[] = []
      // A rescue begins at the queue, so findStuck takes the records' locks as well.
      for (const item of await findStuck(tx, by, rescuedAtOnceMax)) {
        const change = await applyEvent(tx, item, toEvent(by, item, now()), now())
        if (change !== undefined) changes.push(change)
        else if ('cancelDueAt' in by && await isRunning(tx, item)) await clearCancelDue(tx, item.jobId)
        else await reconcileForeignChange(tx, item.jobId, now())
      }
      return { changes, value: undefined }
    })
    return entries.length
  }
  return async holder => {
    const at = now()
    const causes: StuckBy[] = holder === undefined
      // Cancellations first: a job that was asked to stop is not queued again.
      ? [{ cancelDueAt: at }, { leaseExpiredAt: at }, { deadlineAt: at }]
      : [{ holder }]
    let total = 0
    for (const by of causes) {
      while (await queue.hasStuck(by)) {
        total += await rescueSome(by)
        // The event loop gets a turn between two transactions, or requests would wait until all are rescued.
        await nextTurn()
      }
    }
    return total
  }
}
