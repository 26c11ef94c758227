import { setImmediate as nextTurn } from 'node:timers/promises'

/** The result of one batch. `isDone`: this round needs no further batch. */
export type Pruned = { examined: number, removed: number, isDone: boolean }

/** One kind of data that expires. `prune` examines at most `limit` rows. */
export type PruneTask = { kind: string, isDue: () => Promise<boolean>, prune: (limit: number) => Promise<Pruned> }

export type PrunerNeeds = {
  tasks: readonly PruneTask[]
  /** Called once per round and kind that removed rows, with their number. */
  onPruned: (kind: string, count: number) => void
  isStopping: () => boolean
  /** ms of a clock that only goes forward. */
  monotonicNow: () => number
}

// A transaction occupies the event loop while it runs, so a batch has as many rows as fit into this time.
const batchMsAim = 2
const limitFirst = 50
const limitMin = 5
const limitMax = 1000

/** How many rows the next batch may have, by the time that the last one took. */
const createBatchLimit = () => {
  let limit = limitFirst
  return {
    get: () => limit,
    adapt: (count: number, ms: number) => {
      const fitting = Math.floor(count * batchMsAim / Math.max(ms, 0.1))
      limit = Math.min(limitMax, 2 * limit, Math.max(limitMin, fitting))
    }
  }
}

/** Removes expired data in small batches, each in its own transaction, so that writers get in between. */
export const createPruner = ({ tasks, onPruned, isStopping, monotonicNow }: PrunerNeeds) => {
  const pruneAll = async ({ kind, isDue, prune }: PruneTask): Promise<void> => {
    const limit = createBatchLimit()
    let total = 0
    try {
      while (!isStopping() && await isDue()) {
        const began = monotonicNow()
        const { examined, removed, isDone } = await prune(limit.get())
        total += removed
        if (isDone) break
        limit.adapt(examined, monotonicNow() - began)
        await nextTurn()
      }
    } finally {
      if (total > 0) onPruned(kind, total)
    }
  }
  /** Runs one round. If a kind fails, the others are pruned all the same; then the first failure is thrown. */
  return async (): Promise<void> => {
    const failures: unknown[] = []
    for (const task of tasks) {
      await pruneAll(task).catch((error: unknown) => { failures.push(error) })
    }
    if (failures.length > 0) throw failures[0]
  }
}
