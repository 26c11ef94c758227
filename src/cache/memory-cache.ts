import { LRUCache } from 'lru-cache'
import type { StatusEntry } from '../job/status-entry.ts'
import { type Lookup, type StatusCache, timeToLiveMs, tokenTimeToLiveMs } from './status-cache.ts'

// At most 131,072 cells. With a `max` lru-cache makes room for as many at once: 5 MB for 100,000, and 3 % of a start.
const cellOverheadBytes = 1024

type Cell = StatusEntry | { token: string }

const isToken = (cell: Cell): cell is { token: string } => 'token' in cell

const sizeOf = (cell: Cell): number => isToken(cell)
  ? cellOverheadBytes
  : cellOverheadBytes + 2 * (cell.v1Body.length + cell.taskBody.length)

/** `now` in ms, any origin; `random` in [0, 1). */
export type MemoryCacheNeeds = { now: () => number, random: () => number, bytesMax?: number }

/** The cache of a single process, in its own memory, bounded by their size. */
export const createMemoryCache = ({ now, random, bytesMax = 128 * 1024 * 1024 }: MemoryCacheNeeds): StatusCache => {
  const cells = new LRUCache<string, Cell>({
    maxSize: bytesMax,
    sizeCalculation: sizeOf,
    ttlResolution: 0,
    perf: { now }
  })
  const keyOf = (epoch: string, jobId: string) => `${epoch}:${jobId}`
  const put = (key: string, entry: StatusEntry) => cells.set(key, entry, { ttl: timeToLiveMs(entry.state, random()) })

  const find = (epoch: string, jobId: string): Lookup => {
    const cell = cells.get(keyOf(epoch, jobId))
    return cell === undefined || isToken(cell) ? { kind: 'miss' } : { kind: 'hit', entry: cell }
  }

  const expose = (epoch: string, entry: StatusEntry, token: string | null): void => {
    const key = keyOf(epoch, entry.jobId)
    const cell = cells.get(key)
    if (cell === undefined) return
    if (isToken(cell)) {
      if (cell.token === token) put(key, entry)
      else cells.delete(key)
    } else if (cell.version < entry.version) {
      put(key, entry)
    }
  }

  return {
    get: find,
    getMany: (epoch, jobIds) => Promise.resolve(jobIds.map(jobId => find(epoch, jobId))),
    lease: (epoch, jobId, token) => {
      const key = keyOf(epoch, jobId)
      const cell = cells.get(key)
      if (cell === undefined) {
        cells.set(key, { token }, { ttl: tokenTimeToLiveMs })
        return Promise.resolve({ kind: 'token', token })
      }
      return Promise.resolve(isToken(cell) ? { kind: 'token', token: cell.token } : { kind: 'hit', entry: cell })
    },
    expose: (epoch, entry, token) => {
      expose(epoch, entry, token)
      return Promise.resolve()
    },
    exposeMany: (epoch, entries) => {
      for (const entry of entries) expose(epoch, entry, null)
      return Promise.resolve()
    },
    invalidate: (epoch, jobId, version) => {
      const key = keyOf(epoch, jobId)
      const cell = cells.get(key)
      const isKept = cell !== undefined && !isToken(cell) && cell.version >= version
      if (!isKept) cells.delete(key)
      return Promise.resolve(isKept)
    },
    close: () => {
      cells.clear()
      return Promise.resolve()
    }
  }
}
