import type { EntryState, StatusEntry } from '../job/status-entry.ts'

/** What a cell holds for a reader. */
export type Lookup = { kind: 'hit', entry: StatusEntry } | { kind: 'miss' }

/**
 * The entry in the cell, or the token under which the cell may be filled ("Scaling Memcache at Facebook", NSDI 2013).
 */
export type FillLease = { kind: 'hit', entry: StatusEntry } | { kind: 'token', token: string }

/**
 * What a cache of statuses promises. A cell, named by epoch and jobId, is empty, a token or an entry, and may become
 * empty at any moment. Each operation is atomic. One that rejects may have happened, or may still happen.
 */
export type StatusCache = {
  /** Not a promise if the cells are in memory: that would cost more than the read. */
  get: (epoch: string, jobId: string) => Lookup | Promise<Lookup>
  /** Reads many cells in one round trip; lookups in the order of the ids. */
  getMany: (epoch: string, jobIds: readonly string[]) => Promise<Lookup[]>
  /**
   * Returns the entry or the token in the cell; an empty cell takes the new token. Readers share tokens on purpose:
   * none waits for another.
   */
  lease: (epoch: string, jobId: string, token: string) => Promise<FillLease>
  /**
   * Replaces an older entry; a newer one stays. A cell that holds this very token takes the entry. Any other token is
   * deleted, so that fills under way have no effect. An empty cell stays empty, because the entry may be older than one
   * that was evicted.
   */
  expose: (epoch: string, entry: StatusEntry, token: string | null) => Promise<void>
  /** The same for many entries, without tokens, in one round trip; each cell by itself is atomic. */
  exposeMany: (epoch: string, entries: readonly StatusEntry[]) => Promise<void>
  /**
   * Empties a cell that may hold something older than this version: an older entry, or a token. An entry of this
   * version or a newer one stays: then it resolves to true. For a caller that has no entry to expose.
   */
  invalidate: (epoch: string, jobId: string, version: number) => Promise<boolean>
  close: () => Promise<void>
}

/** The server answers, but only its operator can make it usable as a cache. The message goes to the operator. */
export class CacheUnusable extends Error {
  constructor (reason: string, options?: ErrorOptions) {
    super(`Redis cannot be used: ${reason}`, options)
    this.name = 'CacheUnusable'
  }
}

export const tokenTimeToLiveMs = 5000
/** Of an entry whose job goes on. */
export const liveTimeToLiveMs = 2000
const finalTimeToLiveMs = 3_600_000
const absentTimeToLiveMs = 3000

const longestTimeToLiveMs = (state: EntryState): number => {
  switch (state) {
    case 'queued': case 'running': case 'invalid': return liveTimeToLiveMs
    case 'succeeded': case 'failed': case 'cancelled': case 'expired': return finalTimeToLiveMs
    case 'absent': return absentTimeToLiveMs
  }
}

/** Whether entries of a state outlive the interval at which a client polls. */
export const livesLong = (state: EntryState): boolean => longestTimeToLiveMs(state) === finalTimeToLiveMs

/**
 * How long an entry may stay, in ms. It bounds the size of the cache, and the effect of changes that the protocol
 * cannot see. `random` in [0, 1) spreads the ends.
 */
export const timeToLiveMs = (state: EntryState, random: number): number =>
  Math.floor(longestTimeToLiveMs(state) * (1 - random * 0.2))
