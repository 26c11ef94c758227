import { setTimeout as delay } from 'node:timers/promises'
import { isUnavailable } from '../../errors.ts'
import type { CallbackQueue, Settled, TryOutcome } from '../../job/callbacks/callback.ts'
import type { CallbackReader } from '../../store/store.ts'
import type { CallbackTry, DeliverCallbacks } from '../../write/callbacks/deliver-callbacks.ts'
import { createRounds } from '../rounds.ts'
import type { SendCallback } from './send-callback.ts'
import { createSlots, type Slots, type Turn } from './slots.ts'

/*
 * Delivers callbacks that are due. Each host and each tenant has a share of the tries that may be under way (slots.ts).
 * They are claimed queue by queue, a queue for each tenant of a host, so those that hang neither take all of them nor
 * stand before the others. A claim is a lease in the store: if this process is killed, another one makes the try again
 * once the lease is over.
 */

/** A try that ended. `settled` undefined: the callback was taken over or erased meanwhile. */
export type TryReport = { of: CallbackTry, outcome: TryOutcome, settled: Settled | undefined }

export type CallbackDeliveryNeeds = {
  callbacks: Pick<CallbackReader, 'hasDue' | 'pendingQueues'>
  deliver: DeliverCallbacks
  send: SendCallback
  /** The keys that sign where a submission named none. */
  secrets: readonly string[]
  perHostMax: number
  atOnceMax: number
  /** ms since 1970. */
  now: () => number
  onTried: (report: TryReport) => void
}

export type CallbackDelivery = {
  /** Begins the tries that are due, as many as may run at once. Throws STORE_UNAVAILABLE. */
  runOnce: () => Promise<void>
  /** A callback may be due: runs a round now. If it fails, the next round of the loop reports that. */
  wake: () => void
  /** Begins no more tries, lets those under way end for `graceMs`, and gives the others back. */
  stop: (graceMs: number) => Promise<void>
}

const queuesAtOnce = 200
const settlePauseMs = 500

const unshowable: TryOutcome =
  { kind: 'failed', status: null, error: 'the record of the job is damaged', retryAfterMs: 0, isFinal: true }

/** Makes one try and records how it ended. */
const createTry = ({ deliver, send, secrets, onTried }: CallbackDeliveryNeeds) => {
  // While the store is away the outcome is kept: if it were lost, the receiver would be called again.
  const record = async (of: CallbackTry, outcome: TryOutcome, stopping: AbortSignal): Promise<Settled | undefined> => {
    for (;;) {
      try {
        return await deliver.settle(of, outcome)
      } catch (error) {
        if (!isUnavailable(error) || stopping.aborted) throw error
        await delay(settlePauseMs, undefined, { signal: stopping })
      }
    }
  }
  return async (of: CallbackTry, stopping: AbortSignal): Promise<void> => {
    const { id, url, body, secret } = of
    const message = { id, url, body: body ?? '', secrets: secret === null ? secrets : [secret] }
    const outcome = body === null ? unshowable : await send(message, stopping)
    // The try did not end by itself.
    if (stopping.aborted && outcome.kind === 'failed') return await deliver.release(of)
    onTried({ of, outcome, settled: await record(of, outcome, stopping) })
  }
}

const start: CallbackQueue = { host: '', tenant: '' }
const isBehind = (a: CallbackQueue, b: CallbackQueue): boolean =>
  a.host > b.host || (a.host === b.host && a.tenant > b.tenant)

/** Claims what is due and hands each try to `begin`. Both functions throw STORE_UNAVAILABLE. */
const createClaims = (needs: CallbackDeliveryNeeds, slots: Slots, begin: (of: CallbackTry) => void) => {
  const { callbacks, deliver, now } = needs
  let sweptTo = start

  /** Returns whether the queue may have more. */
  const claimFrom = async ({ queue, slots: taken }: Turn): Promise<boolean> => {
    let claimed: CallbackTry[] = []
    try {
      claimed = await deliver.claim(queue, taken)
    } finally {
      slots.giveBack(queue, taken - claimed.length)
    }
    for (const of of claimed) begin(of)
    return claimed.length === taken
  }

  const claim = async (turns: readonly Turn[]): Promise<void> => {
    const mayHaveMore = await Promise.all(turns.map(claimFrom))
    for (const [index, { queue }] of turns.entries()) if (mayHaveMore[index]) slots.wantMore(queue)
  }

  /**
   * Finds the queues with something due, from where the last sweep ended. Those that cannot wait for a slot, because too
   * many do, have what is left, and are the first of the next sweep. False: it ended early, because all slots are taken.
   */
  const sweep = async (): Promise<boolean> => {
    if (!await callbacks.hasDue(now())) return true
    const from = sweptTo
    let rest: CallbackQueue | undefined
    for (let hasWrapped = from === start; ;) {
      const { due, next } = await callbacks.pendingQueues(now(), sweptTo, queuesAtOnce)
      const unnamed = due.filter(queue => !slots.want(queue))
      if (unnamed[0] !== undefined) rest ??= due[due.indexOf(unnamed[0]) - 1] ?? sweptTo
      await claim(slots.take(unnamed))
      sweptTo = next ?? start
      if (hasWrapped && (next === null || (from !== start && !isBehind(from, sweptTo)))) {
        sweptTo = rest ?? start
        return true
      }
      if (slots.isFull()) return false
      hasWrapped ||= next === null
    }
  }

  return { claim, sweep }
}

export const createCallbackDelivery = (needs: CallbackDeliveryNeeds): CallbackDelivery => {
  const slots = createSlots(needs.perHostMax, needs.atOnceMax)
  const tryOnce = createTry(needs)
  const stopping = new AbortController()
  const underWay = new Set<Promise<void>>()
  let isSweepDue = false
  let isSweepEnded = true
  let isStopped = false

  const { now } = needs
  const { claim, sweep } = createClaims(needs, slots, of => {
    const beganAt = now()
    // What goes wrong is a store that is away: the lease ends, and the try is made again.
    const running = tryOnce(of, stopping.signal).catch(() => {}).finally(() => {
      underWay.delete(running)
      slots.observe(of.host, now() - beganAt)
      slots.giveBack(of, 1)
      wake()
    })
    underWay.add(running)
  })

  const rounds = createRounds(async () => {
    while (!isStopped) {
      if (isSweepDue || (!isSweepEnded && !slots.isFull())) {
        isSweepDue = false
        isSweepEnded = await sweep()
      } else {
        const turns = slots.take()
        if (turns.length === 0) return
        await claim(turns)
      }
    }
  })
  // If a round fails, the next one of the loop reports that.
  const wake = (): void => { rounds.wake().catch(() => {}) }

  return {
    runOnce: () => {
      isSweepDue = true
      return rounds.wake()
    },
    wake: () => {
      isSweepDue = true
      wake()
    },
    stop: async graceMs => {
      isStopped = true
      await rounds.ended()
      const grace = setTimeout(() => { stopping.abort() }, graceMs)
      await Promise.all(underWay)
      clearTimeout(grace)
    }
  }
}
