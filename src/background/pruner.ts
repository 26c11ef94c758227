import { setImmediate as nextTurn } from 'node:timers/promises'
import type { ChangeLog } from '../store/change-log.ts'

// Far longer than any relay lags behind.
const changeKeptMs = 3_600_000
const rowsAtOnce = 500

export type PrunerNeeds = {
  changeLog: ChangeLog
  pruneIdempotencyKeys: (at: number, limit: number) => Promise<number>
  idempotencyKeyKeptMs: number
  /** ms since 1970. */
  now: () => number
}

/** Forgets what is past its time, in small batches, each a transaction of its own so that writers get in between. */
export const createPruner = ({ changeLog, pruneIdempotencyKeys, idempotencyKeyKeptMs, now }: PrunerNeeds) => {
  const untilDone = async (prune: (limit: number) => Promise<number>) => {
    let total = 0
    for (let count = rowsAtOnce; count === rowsAtOnce; total += count) {
      count = await prune(rowsAtOnce)
      await nextTurn()
    }
    return total
  }
  return async (): Promise<{ changes: number, idempotencyKeys: number }> => ({
    changes: await untilDone(limit => changeLog.prune(now() - changeKeptMs, limit)),
    idempotencyKeys: await untilDone(limit => pruneIdempotencyKeys(now() - idempotencyKeyKeptMs, limit))
  })
}
