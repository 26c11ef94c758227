import { type CallbackQueue, settle, type Settled, type TryOutcome } from '../../job/callbacks/callback.ts'
import type { JobLookup } from '../../job/job.ts'
import { type ClaimedCallback, claimCallbacks, releaseCallback, setCallbackBody, settleCallback } from '../../store/tx/callbacks.ts'
import { findJob } from '../../store/tx/jobs.ts'
import type { ChangedJob, CommandNeeds } from '../commit.ts'

/** A try that this process makes, under a lease. `body` null: the record cannot be shown, so nothing can be sent. */
export type CallbackTry = ClaimedCallback & { host: string, leaseToken: string }

/** What the delivery of callbacks does to the record. All throw STORE_UNAVAILABLE. */
export type DeliverCallbacks = {
  /** Claims callbacks of a queue that are due, at most `limit`. */
  claim: (queue: CallbackQueue, limit: number) => Promise<CallbackTry[]>
  /** Records how a try ended; undefined: another process had taken it over, or it was erased. */
  settle: (of: CallbackTry, outcome: TryOutcome) => Promise<Settled | undefined>
  /** Gives a try back that did not end. */
  release: (of: CallbackTry) => Promise<void>
}

export type DeliverCallbacksNeeds = CommandNeeds & {
  randomId: () => string
  /** In [0, 1). */
  random: () => number
  /** Longer than a try may take. */
  leaseMs: number
  toBody: (of: ClaimedCallback, lookup: JobLookup, at: number) => string | null
}

export const createDeliverCallbacks = (
  { commit, now, randomId, random, leaseMs, toBody }: DeliverCallbacksNeeds
): DeliverCallbacks => ({
  claim: async (queue, limit) => {
    const { value: tries } = await commit(async tx => {
      const [at, leaseToken] = [now(), randomId()]
      const tries: CallbackTry[] = []
      const changes: ChangedJob[] = []
      const claimed = await claimCallbacks(tx, queue, at, limit, { token: leaseToken, endsAt: at + leaseMs })
      for (const callback of claimed) {
        // A callback reveals the state of its job like any response, so each try exposes it: an earlier one may have
        // been committed and not exposed.
        const lookup = await findJob(tx, callback.jobId)
        changes.push({ lookup })
        const body = callback.body ?? toBody(callback, lookup, at)
        if (callback.body === null && body !== null) await setCallbackBody(tx, callback.id, body)
        tries.push({ ...callback, body, host: queue.host, leaseToken })
      }
      return { changes, value: tries }
    })
    return tries
  },
  settle: async (of, outcome) => {
    const { value: settled } = await commit(async tx => {
      const settled = settle(of, outcome, now(), random())
      return { changes: [], value: await settleCallback(tx, of.id, of.leaseToken, settled) ? settled : undefined }
    })
    return settled
  },
  release: async ({ id, leaseToken }) => {
    await commit(async tx => ({ changes: [], value: await releaseCallback(tx, id, leaseToken, now()) }))
  }
})
