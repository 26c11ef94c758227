import type { RelayNeeds } from '../../../src/background/relay.ts'
import type { StatusCache } from '../../../src/cache/status-cache.ts'
import type { StatusEntry } from '../../../src/job/status-entry.ts'
import type { JobWatch } from '../../../src/status/await-change.ts'
import type { Epoch } from '../../../src/status/epoch/epoch.ts'
import type { createRefresh } from '../../../src/status/epoch/refresh.ts'
import type { ReadStatus } from '../../../src/status/read-status.ts'
import type { EpochRowStore } from '../../../src/store/store.ts'

export const placements = ['memory', 'shared'] as const
export type Placement = typeof placements[number]

/** Where the code can be made worse on purpose, and where that shows. */
export type Mutant = {
  placements: readonly Placement[]
  /** What a command does to the cells. */
  cache?: (cache: StatusCache) => StatusCache
  readStatus?: (readStatus: ReadStatus) => ReadStatus
  /** What a node does for those that wait at it. */
  watch?: (watch: JobWatch, readStatus: ReadStatus) => JobWatch
  /** What a node does before it exposes. */
  onExposing?: (watch: JobWatch, entry: StatusEntry) => void
  relay?: (needs: RelayNeeds, watch: JobWatch) => RelayNeeds
  epoch?: (epoch: Epoch) => Epoch
  rows?: (rows: EpochRowStore) => EpochRowStore
  createRefresh?: typeof createRefresh
  /** In which it shows; those that only read and write unless others are named. */
  scripts?: 'slow' | 'waiting' | 'following' | 'bypassing'
  epochId?: () => string
  isDeafToDisconnects?: boolean
}
