import type { Count, RemovedKind } from './clean-text.ts'

/** How often each kind was met, without those that were not. */
export type Removed = Partial<Record<RemovedKind, number>>

/** Counts what is removed; `removed` is what was counted up to now, in the order of the names. */
export const createTally = (): { count: Count, removed: () => Removed } => {
  const counts = new Map<RemovedKind, number>()
  return {
    count: (kind, times = 1) => { counts.set(kind, (counts.get(kind) ?? 0) + times) },
    removed: () => Object.fromEntries([...counts].sort(([a], [b]) => a < b ? -1 : 1))
  }
}
