import type { Logger } from 'pino'
import type { Metrics } from '../metrics.ts'
import type { RescueJobs } from '../write/rescue-jobs.ts'
import { createLoop, type Loop } from './loop.ts'
import { type RelayOnce, relayIntervalMs } from './relay.ts'

const rescueIntervalMs = 1000

export type LoopsNeeds = {
  relay: RelayOnce
  rescueJobs: RescueJobs
  prune: () => Promise<void>
  pruneIntervalMs: number
  metrics: Metrics
  log: Pick<Logger, 'info' | 'error'>
}

/** All that a process does unasked, each over and over; a change of their health is logged once. */
export const createLoops = ({ relay, rescueJobs, prune, pruneIntervalMs, metrics, log }: LoopsNeeds): Loop[] => {
  const onHealth = (part: string) => (error: Error | null) => {
    if (error === null) log.info({ part }, 'works again')
    else log.error({ part, err: error }, 'failed, and will be tried again')
  }
  return [
    createLoop({
      runOnce: async () => { metrics.changesRelayed.inc(await relay()) },
      intervalMs: relayIntervalMs,
      onHealth: onHealth('relay')
    }),
    createLoop({ runOnce: () => rescueJobs(), intervalMs: rescueIntervalMs, onHealth: onHealth('rescuer') }),
    createLoop({ runOnce: prune, intervalMs: pruneIntervalMs, onHealth: onHealth('pruner') })
  ]
}
