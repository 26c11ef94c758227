import { setTimeout as delay } from 'node:timers/promises'
import { isUnavailable } from '../../errors.ts'
import type { CallbackQueue, Settled, TryOutcome } from '../../job/callbacks/callback.ts'
import type { CallbackReader } from '../../store/store.ts'
import type { CallbackTry, DeliverCallbacks } from '../../write/callbacks/deliver-callbacks.ts'
import type { SendCallback } from './send-callback.ts'
import { createSlots, type Slots } from './slots.ts'

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

/** Queues that had their turn (`count` of those asked for), those of them that found no slot, and those that want more. */
type Claimed = { count: number, unserved: CallbackQueue[], hungry: CallbackQueue[] }

const start: CallbackQueue = { host: '', tenant: '' }
const isBehind = (a: CallbackQueue, b: CallbackQueue): boolean =>
  a.host > b.host || (a.host === b.host && a.tenant > b.tenant)

/** Claims what is due and hands each try to `begin`. Both functions throw STORE_UNAVAILABLE. */
const createClaims = (needs: CallbackDeliveryNeeds, slots: Slots, begin: (of: CallbackTry) => void) => {
  const { callbacks, deliver, now } = needs
  let sweptTo = start

  const claimFrom = async (queue: CallbackQueue): Promise<'unserved' | 'hungry' | 'served'> => {
    const free = slots.take(queue)
    if (free === 0) return 'unserved'
    let claimed: CallbackTry[] = []
    try {
      claimed = await deliver.claim(queue, free)
    } finally {
      slots.giveBack(queue, free - claimed.length)
    }
    for (const of of claimed) begin(of)
    return claimed.length === free ? 'hungry' : 'served'
  }

  /** Claims from these queues as long as there are slots. */
  const claimAll = async (queues: readonly CallbackQueue[]): Promise<Claimed> => {
    const claims: ReturnType<typeof claimFrom>[] = []
    for (const queue of queues) {
      if (slots.isFull()) break
      claims.push(claimFrom(queue))
    }
    const outcomes = await Promise.all(claims)
    const those = (outcome: typeof outcomes[number]) => queues.filter((_queue, index) => outcomes[index] === outcome)
    return { count: claims.length, unserved: those('unserved'), hungry: those('hungry') }
  }

  /** Those that had no slot come before those that want more. */
  const claimWanted = async (queues: readonly CallbackQueue[]): Promise<void> => {
    const { count, unserved, hungry } = await claimAll(queues)
    for (const queue of [...queues.slice(count), ...unserved, ...hungry]) slots.want(queue)
  }

  // Goes on where the last sweep ended for want of slots, or the last hosts of the alphabet would never have any.
  const sweep = async (): Promise<void> => {
    if (!await callbacks.hasDue(now())) return
    const from = sweptTo
    for (let hasWrapped = from === start; ;) {
      const { due, next } = await callbacks.pendingQueues(now(), sweptTo, queuesAtOnce)
      const { count, unserved, hungry } = await claimAll(due)
      for (const queue of [...unserved, ...hungry]) slots.want(queue)
      const isCut = count < due.length
      sweptTo = isCut ? due[count - 1] ?? sweptTo : next ?? start
      if (isCut && slots.isFull()) return slots.wantAny()
      if (!isCut && next === null && hasWrapped) return
      if (hasWrapped && from !== start && !isBehind(from, sweptTo)) return
      hasWrapped ||= !isCut && next === null
    }
  }

  return { claimWanted, sweep }
}

export const createCallbackDelivery = (needs: CallbackDeliveryNeeds): CallbackDelivery => {
  const slots = createSlots(needs.perHostMax, needs.atOnceMax)
  const tryOnce = createTry(needs)
  const stopping = new AbortController()
  const underWay = new Set<Promise<void>>()
  let isSweepDue = false
  let isStopped = false
  let round: Promise<void> | null = null

  const { now } = needs
  const { claimWanted, sweep } = createClaims(needs, slots, of => {
    const beganAt = now()
    // What goes wrong is a store that is away: the lease ends, and the try is made again.
    const running = tryOnce(of, stopping.signal).catch(() => {}).finally(() => {
      underWay.delete(running)
      slots.observe(of.host, now() - beganAt)
      slots.giveBack(of, 1)
      continueRound()
    })
    underWay.add(running)
  })

  // The round is over in the same turn in which it found nothing more to do: a try that ended between the two would
  // join a round that no longer looks at the slots.
  const runRound = async (): Promise<void> => {
    try {
      for (;;) {
        const { queues, any } = slots.takeWanted()
        if (isStopped || (queues.length === 0 && !any && !isSweepDue)) return
        const isSweep = isSweepDue || any
        isSweepDue = false
        // First the queues that are not named, or those that always want more would leave them nothing.
        if (isSweep) await sweep()
        await claimWanted(queues)
      }
    } finally {
      round = null
    }
  }

  const begin = (): Promise<void> => {
    round ??= Promise.resolve().then(runRound)
    return round
  }

  const continueRound = (): void => { begin().catch(() => {}) }

  return {
    runOnce: () => {
      isSweepDue = true
      return begin()
    },
    wake: () => {
      isSweepDue = true
      continueRound()
    },
    stop: async graceMs => {
      isStopped = true
      await round?.catch(() => {})
      const grace = setTimeout(() => { stopping.abort() }, graceMs)
      await Promise.all(underWay)
      clearTimeout(grace)
    }
  }
}
