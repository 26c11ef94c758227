import { performance } from 'node:perf_hooks'
import { setImmediate as nextTurn } from 'node:timers/promises'

/** What one batch came to; `isLast`: no other is needed in this round. */
export type Pruned = { examined: number, removed: number, isDone: boolean }

/** One kind of thing that gets too old. `prune` looks at `limit` of them at most. */
export type PruneTask = { kind: string, isDue: () => boolean, prune: (limit: number) => Promise<Pruned> }

export type PrunerNeeds = {
  tasks: readonly PruneTask[]
  /** Told how many of a kind one round removed, unless none. */
  onPruned: (kind: string, count: number) => void
  isStopping: () => boolean
}

// A transaction holds the event loop while it runs: so many rows are taken at once as fit into this time.
const batchMsAim = 2
const limitFirst = 50
const limitMin = 5
const limitMax = 1000

/** How many rows the next batch may have, by how long the last one took. */
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

/** Forgets what is past its time, in small batches, each a transaction of its own so that writers get in between. */
export const createPruner = ({ tasks, onPruned, isStopping }: PrunerNeeds) => {
  const pruneAll = async ({ kind, isDue, prune }: PruneTask): Promise<void> => {
    const limit = createBatchLimit()
    let total = 0
    try {
      while (!isStopping() && isDue()) {
        const began = performance.now()
        const { examined, removed, isDone } = await prune(limit.get())
        total += removed
        if (isDone) break
        limit.adapt(examined, performance.now() - began)
        await nextTurn()
      }
    } finally {
      if (total > 0) onPruned(kind, total)
    }
  }
  /** One round. Where one kind fails the others are pruned all the same; then it throws what that one threw. */
  return async (): Promise<void> => {
    const failures: unknown[] = []
    for (const prunable of tasks) {
      await pruneAll(prunable).catch((error: unknown) => { failures.push(error) })
    }
    if (failures.length > 0) throw failures[0]
  }
}
