import { liveTimeToLiveMs } from '../cache/status-cache.ts'

/*
 * Which reads fill the cache. A fill takes two round trips, and pays only if the job is read again while the entry
 * lives. Clients that each wait for a job of their own poll less often than that. So where most reads miss, the first
 * read of a job bypasses its cell and fills nothing; the next one within the lifetime of an entry does.
 */

export type FillPolicy = {
  /** Whether most reads miss, so that it is not worth a round trip to ask for an entry first. */
  expectsMiss: () => boolean
  /** Whether a read that expects no entry fills the cell; to be asked once for each. */
  isWorthFilling: (jobId: string) => boolean
  /** The cell of a read held an entry. */
  onHit: () => void
  onMiss: () => void
  /** A read that bypasses its cell begins to load. */
  onLoad: () => void
  onLoaded: () => void
  /** The load failed: entries are asked for first again, because they may be all that there is. */
  onLoadFailed: () => void
}

// Most reads: more than three of four.
const missesPerHit = 3
const missesMax = 64
const missesMin = missesMax / 2
const jobsMax = 50_000
// Without the end of any load in this time, the store may hang, and cells answer what they can.
const stalledMs = 100

/** `monotonicNow` in ms. */
export const createFillPolicy = ({ monotonicNow }: { monotonicNow: () => number }): FillPolicy => {
  let misses = 0
  // The jobs that were read since `beganAt`, and in the period before.
  let recent = new Set<string>()
  let earlier = new Set<string>()
  let beganAt = 0
  let loading = 0
  let progressAt = 0

  const isReadAgain = (jobId: string): boolean => {
    const ageMs = monotonicNow() - beganAt
    if (ageMs >= liveTimeToLiveMs || recent.size >= jobsMax) {
      earlier = ageMs >= 2 * liveTimeToLiveMs ? new Set() : recent
      recent = new Set()
      beganAt += ageMs
    }
    if (recent.has(jobId)) return true
    recent.add(jobId)
    return earlier.has(jobId)
  }

  const isStalled = (): boolean => loading > 0 && monotonicNow() - progressAt > stalledMs
  const expectsMiss = (): boolean => misses >= missesMin && !isStalled()
  const onLoaded = () => {
    loading--
    progressAt = monotonicNow()
  }

  return {
    expectsMiss,
    isWorthFilling: jobId => !expectsMiss() || isReadAgain(jobId),
    onHit: () => { if (misses > 0) misses = Math.max(0, misses - missesPerHit) },
    onMiss: () => { if (misses < missesMax) misses++ },
    onLoad: () => { if (loading++ === 0) progressAt = monotonicNow() },
    onLoaded,
    onLoadFailed: () => {
      onLoaded()
      misses = 0
    }
  }
}
