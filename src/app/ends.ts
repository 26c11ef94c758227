import type { WaitingClients } from '../http/limits/waiting-clients.ts'
import type { LongPollClaim } from '../write/runs/long-poll-claim.ts'
import type { Handover } from './command-parts.ts'

/*
 * How an app ends.
 */

type Closable = { close: () => Promise<void> }

/** What is called more than once ends once. */
export const once = (end: () => Promise<void>): (() => Promise<void>) => {
  let ended: Promise<void> | undefined
  return () => {
    ended ??= end()
    return ended
  }
}

/** Closes what an app has opened. The cache needs the store to leave the epoch, so the store is closed last. */
export const createClose = (
  stopCache: () => Promise<void>, worker: Closable, sanitizePool: Closable, store: Closable
) => async () => {
  await stopCache()
  await worker.close()
  await sanitizePool.close()
  await store.close()
}

type EndsNeeds = {
  waitingClients: Pick<WaitingClients, 'endAll'>
  longPollClaim: Pick<LongPollClaim, 'endWaits' | 'stop'>
  handOver: () => Handover
  stops: ReadonlyArray<() => Promise<void>>
  /** Called before any wait is ended. */
  onDraining: () => void
}

/** What an app does before it closes: it drains, stops giving out jobs, or retires. */
export const createEnds = (
  { waitingClients, longPollClaim: { endWaits, stop: onClosing }, handOver, stops, ...needs }: EndsNeeds
) => {
  const onDraining = () => {
    needs.onDraining()
    endWaits()
    waitingClients.endAll()
  }
  return {
    onDraining,
    onClosing,
    retire: (): Handover => {
      onDraining()
      onClosing()
      // A failure is met again by `close`.
      for (const stop of stops) stop().catch(() => {})
      return handOver()
    }
  }
}
