import type { ContentInfo } from '../job/content-info.ts'
import { type LeaseHeld, OffsetMismatch } from '../job/lease.ts'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { storedChunkBytes, toChunks } from '../job/chunks.ts'
import type { ResultReader } from '../store/store.ts'
import { createResultDigest } from './result-digest.ts'
import type { RunJob } from './run-job.ts'

/** Results that arrive as bytes, in as many requests as it takes. Both throw LeaseLost, OffsetMismatch, STORE_UNAVAILABLE. */
export type Uploads = {
  /**
   * Appends bytes as they come, at most one chunk of them in memory, and keeps the lease while they do. Returns the new
   * size. Throws also what `bytes` throws; whole chunks that came before are kept.
   */
  store: (lease: LeaseHeld, offset: number, bytes: AsyncIterable<Uint8Array>, kind: ContentInfo) => Promise<number>
  /** Completes a run with what it has uploaded; without a result, if that is nothing. */
  complete: (lease: LeaseHeld) => ReturnType<RunJob['complete']>
}

export type UploadsNeeds = {
  runJob: Pick<RunJob, 'append' | 'appended' | 'heartbeat' | 'complete'>
  read: ResultReader['read']
  /** ms of a clock that only goes forward. */
  monotonicNow: () => number
}

export const createUploads = ({ runJob, read, monotonicNow }: UploadsNeeds): Uploads => {
  // Work on the pieces may take longer than a lease: it is prolonged in time, as long as they come.
  const holding = async function * (lease: LeaseHeld, leaseMs: number, pieces: AsyncIterable<Uint8Array>) {
    let heldAt = monotonicNow()
    for await (const piece of pieces) {
      if (monotonicNow() - heldAt >= leaseMs / 3) {
        await runJob.heartbeat(lease)
        heldAt = monotonicNow()
      }
      yield piece
    }
  }

  const digestAll = async (lease: LeaseHeld, leaseMs: number, pieces: AsyncIterable<Uint8Array>) => {
    const tally = createResultDigest()
    for await (const bytes of holding(lease, leaseMs, pieces)) {
      tally.add(bytes)
      // A gigabyte takes seconds, which others must not wait.
      await nextTurn()
    }
    return tally
  }

  return {
    store: async (lease, offset, bytes, kind) => {
      const { sizeBytes, leaseMs } = await runJob.appended(lease)
      // Said before the first byte is asked for.
      if (offset !== sizeBytes) throw new OffsetMismatch(sizeBytes)
      let size = offset
      for await (const chunk of toChunks(holding(lease, leaseMs, bytes), storedChunkBytes)) {
        size = await runJob.append(lease, size, chunk, kind)
        // Many chunks may be there at once, and each waits for the disk.
        await nextTurn()
      }
      return size > 0 ? size : await runJob.append(lease, 0, new Uint8Array(0), kind)
    },
    complete: async lease => {
      const { attempt, sizeBytes, isBegun, leaseMs, contentType, fileName } = await runJob.appended(lease)
      if (!isBegun) return await runJob.complete(lease, { kind: 'none' })
      const tally = await digestAll(lease, leaseMs, read({ jobId: lease.jobId, attempt }, 0, sizeBytes)).catch(async (error: unknown) => {
        // The bytes of a run that is over may go while they are read.
        await runJob.heartbeat(lease)
        throw error
      })
      return await runJob.complete(lease, { kind: 'appended', facts: { contentType, fileName, ...tally.facts(contentType) } })
    }
  }
}
