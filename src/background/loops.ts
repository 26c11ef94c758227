import type { Logger } from 'pino'
import { isUnavailable } from '../errors.ts'
import type { Metrics } from '../metrics.ts'
import { isMoved } from '../store/errors.ts'
import type { ChangeLog } from '../store/change-log.ts'
import type { JobWatch } from '../status/await-change.ts'
import type { ChangeFeed } from '../status/feed/change-feed.ts'
import type { RescueJobs } from '../write/runs/rescue-jobs.ts'
import type { CallbackDelivery } from './callbacks/delivery.ts'
import { createLoop, type Loop } from './loop.ts'
import { type RelayOnce, relayIntervalMs, relayIntervalMsOfWaits } from './relay.ts'

// Each round also checks that this process can commit, so that outages of a second are noticed.
const rescueIntervalMs = 500
const checkIntervalMs = 1000
const recheckIntervalMs = 5000
// Those of jobs that this process ends are delivered at once.
const callbackIntervalMs = 500
const callbackGraceMs = 5000

export type LoopsNeeds = {
  relay: RelayOnce
  changes: Pick<ChangeLog, 'onAnnounced' | 'isAnnounced'>
  watch: Pick<JobWatch, 'isInUse' | 'recheck'>
  feed: Pick<ChangeFeed, 'isInUse' | 'recheck'>
  rescueJobs: RescueJobs
  callbacks: Pick<CallbackDelivery, 'runOnce' | 'stop'>
  prune: () => Promise<void>
  /** Reports changes by itself. */
  checkStore: () => Promise<unknown>
  pruneIntervalMs: number
  sample: () => Promise<void>
  sampleIntervalMs: number
  metrics: Metrics
  log: Pick<Logger, 'debug' | 'info' | 'warn' | 'error'>
}

/** A loop that runs as soon as another process has committed, too, while clients of this one wait. */
const wokenByOthers = (
  { onAnnounced }: Pick<ChangeLog, 'onAnnounced'>, hasWaitingClients: () => boolean, loop: Loop
): Loop => {
  let stopListening = () => {}
  return {
    ...loop,
    start: () => {
      stopListening = onAnnounced(() => { if (hasWaitingClients()) loop.wake() })
      loop.start()
    },
    stop: async () => {
      stopListening()
      await loop.stop()
    }
  }
}

/** The background work of a process. Each loop logs once that it fails and once that it has recovered. */
export const createLoops = ({
  relay, changes, watch, feed, rescueJobs, callbacks, prune, pruneIntervalMs, checkStore, sample, sampleIntervalMs, metrics, log
}: LoopsNeeds): Loop[] => {
  const onHealth = (part: string) => (error: Error | null) => {
    if (error === null) return log.info({ part }, 'works again')
    // A store that is down is a warning; any other failure is a bug.
    log[isMoved(error) ? 'debug' : isUnavailable(error) ? 'warn' : 'error']({ part, err: error }, 'failed, and will be tried again')
  }
  const callbackLoop =
    createLoop({ runOnce: callbacks.runOnce, intervalMs: callbackIntervalMs, onHealth: onHealth('callbacks') })
  const hasWaitingClients = () => watch.isInUse() || feed.isInUse()
  return [
    {
      ...callbackLoop,
      stop: async () => {
        await Promise.all([callbackLoop.stop(), callbacks.stop(callbackGraceMs)])
      }
    },
    wokenByOthers(changes, hasWaitingClients, createLoop({
      runOnce: async () => { metrics.changesRelayed.inc(await relay()) },
      intervalMs: () =>
        !changes.isAnnounced && hasWaitingClients() ? relayIntervalMsOfWaits : relayIntervalMs,
      onHealth: onHealth('relay')
    })),
    createLoop({
      runOnce: async () => {
        await watch.recheck()
        await feed.recheck()
      },
      intervalMs: recheckIntervalMs,
      onHealth: onHealth('check of waiting clients')
    }),
    createLoop({ runOnce: () => rescueJobs(), intervalMs: rescueIntervalMs, onHealth: onHealth('rescuer') }),
    createLoop({ runOnce: prune, intervalMs: pruneIntervalMs, onHealth: onHealth('pruner') }),
    createLoop({ runOnce: sample, intervalMs: sampleIntervalMs, onHealth: onHealth('samples') }),
    createLoop({ runOnce: checkStore, intervalMs: checkIntervalMs, onHealth: onHealth('store check') })
  ]
}
