import type { StatusEntry, EntryState } from '../job/status-entry.ts'
export type Lookup = { kind: 'hit', entry: StatusEntry } | { kind: 'miss' }

/** An entry that is there, or the token under which the cell may be filled. */
export type FillLease = { kind: 'hit', entry: StatusEntry } | { kind: 'token', token: string }

/**
 * What a cache of statuses promises. A cell, named by epoch and jobId, is empty, a token or an entry, and may become
 * empty at any moment. Each operation is atomic. One that rejects may have happened, or may still happen.
 */
export type StatusCache = {
  /** At once where the cells are at hand: a promise would be dearer than the look. */
  get: (epoch: string, jobId: string) => Lookup | Promise<Lookup>
  /** As many lookups, in their order, in one round trip. */
  getMany: (epoch: string, jobIds: readonly string[]) => Promise<Lookup[]>
  /** An entry or a token that is there is returned; an empty cell takes the new token. Tokens are shared on purpose: nobody waits. */
  lease: (epoch: string, jobId: string, token: string) => Promise<FillLease>
  /**
   * An entry there only moves forward; a cell that holds this very token becomes the entry; any other token is deleted,
   * which kills older fills under way; an empty cell stays empty, for nothing says that the entry is not older than
   * one that was evicted.
   */
  expose: (epoch: string, entry: StatusEntry, token: string | null) => Promise<void>
  /** The same for many, without tokens, in one round trip; each by itself is atomic. */
  exposeMany: (epoch: string, entries: readonly StatusEntry[]) => Promise<void>
  /**
   * Empties a cell that may hold something older than this version: an older entry, or a token. What `expose` does for
   * one who has no entry at hand; an entry of this version or newer stays.
   */
  invalidate: (epoch: string, jobId: string, version: number) => Promise<void>
  close: () => Promise<void>
}

export const tokenTimeToLiveMs = 5000
const liveTimeToLiveMs = 2000
const finalTimeToLiveMs = 3_600_000
const absentTimeToLiveMs = 3000

const longestTimeToLiveMs = (state: EntryState): number => {
  switch (state) {
    case 'queued': case 'running': case 'invalid': return liveTimeToLiveMs
    case 'succeeded': case 'failed': case 'cancelled': case 'expired': return finalTimeToLiveMs
    case 'absent': return absentTimeToLiveMs
  }
}

/** How long an entry may stay, in ms: hygiene, and the bound for what the protocol cannot see. `random` in [0, 1) spreads the ends. */
export const timeToLiveMs = (state: EntryState, random: number): number =>
  Math.floor(longestTimeToLiveMs(state) * (1 - random * 0.2))
