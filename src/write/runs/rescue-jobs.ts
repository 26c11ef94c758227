import { setImmediate as nextTurn } from 'node:timers/promises'
import { type JobEvent, timedOut } from '../../job/lifecycle.ts'
import type { QueueItem, QueueReader, StuckBy, Tx } from '../../store/store.ts'
import { findJob } from '../../store/tx/jobs.ts'
import { creditLostTime } from '../../store/tx/lost-time.ts'
import { clearCancelDue, findStuck } from '../../store/tx/runs/queue.ts'
import { findTextBytes, writtenBytesMax } from '../../store/sql/text-bytes.ts'
import { applyEvent, reconcileForeignChange, toOwnJob } from '../apply-event.ts'
import type { ChangedJob, CommandNeeds } from '../commit.ts'
import type { Outages } from './outages.ts'

/**
 * Ends the runs that their workers did not end: those whose lease ran out (or, with `holder`, those of that holder),
 * that exceeded their timeout, or that did not stop after a cancellation. Returns how many. Throws STORE_UNAVAILABLE.
 * After an outage of this process it first credits the leases for it, and gives workers time to repeat their reports.
 */
export type RescueJobs = (holder?: string) => Promise<number>

export type RescueJobsNeeds = CommandNeeds & {
  queue: QueueReader
  outages: Outages
  /** How long a worker has to notice a cancellation, in ms. */
  graceMs: number
}

const anyLease: StuckBy = { leaseExpiredAt: Number.MAX_SAFE_INTEGER }

const rescuedAtOnceMax = 10

const toEvent = (by: StuckBy, { maxAttempts }: QueueItem, at: number): JobEvent => {
  if ('deadlineAt' in by) return { type: 'fail', at, failure: timedOut, retryable: true, maxAttempts }
  return 'cancelDueAt' in by ? { type: 'cancel-forced', at } : { type: 'rescue', at, maxAttempts }
}

// Another program withdrew the cancellation: the run goes on under its lease.
const isRunning = async (tx: Tx, { jobId }: QueueItem): Promise<boolean> =>
  toOwnJob(await findJob(tx, jobId))?.state === 'running'

/**
 * Makes sure that this process can commit while any job is running, and credits the leases for the time in which it
 * could not.
 */
const createCreditOutage = ({ commit, queue, outages, graceMs }: RescueJobsNeeds) => async (): Promise<void> => {
  if (!await queue.hasStuck(anyLease)) return outages.observeIdle()
  if (!outages.isProbeDue()) return
  const { value: credited } = await commit(async tx => {
    const times = outages.find()
    if (times.length > 0) await creditLostTime(tx, times, graceMs)
    return { changes: [], value: times }
  })
  if (credited.length > 0) outages.settle(credited)
}

export const createRescueJobs = (needs: RescueJobsNeeds): RescueJobs => {
  const { commit, now, queue, outages } = needs
  const creditOutage = createCreditOutage(needs)
  const rescueSome = async (by: StuckBy): Promise<{ count: number, isOver: boolean }> => {
    const { entries, value: isOver } = await commit(async tx => {
      const changes: ChangedJob[] = []
      // This transaction had to wait, and so had the reports that would have renewed these leases.
      if (!('holder' in by) && outages.find().length > 0) return { changes, value: true }
      // A rescue begins at the queue, so findStuck takes the records' locks as well.
      let bytes = 0
      const stuck = await findStuck(tx, by, rescuedAtOnceMax)
      for (const item of stuck) {
        if (bytes > writtenBytesMax) break
        bytes += await findTextBytes(tx, item.jobId)
        const change = await applyEvent(tx, item, toEvent(by, item, now()), now())
        if (change !== undefined) changes.push(change)
        else if ('cancelDueAt' in by && await isRunning(tx, item)) await clearCancelDue(tx, item.jobId)
        else await reconcileForeignChange(tx, item.jobId, now())
      }
      // On Postgres, those that are left may be locked by other transactions, which may take long.
      return { changes, value: stuck.length === 0 }
    })
    return { count: entries.length, isOver }
  }
  const rescueAll = async (by: StuckBy): Promise<number> => {
    let total = 0
    while (await queue.hasStuck(by)) {
      const { count, isOver } = await rescueSome(by)
      if (isOver) break
      total += count
      // The event loop gets a turn between two transactions, or requests would wait until all are rescued.
      await nextTurn()
    }
    return total
  }
  return async holder => {
    if (holder !== undefined) return await rescueAll({ holder })
    await creditOutage()
    if (outages.isInGrace()) return 0
    const at = now()
    let total = 0
    // Cancellations first: a job that was asked to stop is not queued again.
    for (const by of [{ cancelDueAt: at }, { leaseExpiredAt: at }, { deadlineAt: at }]) total += await rescueAll(by)
    return total
  }
}
