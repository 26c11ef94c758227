import { setImmediate as nextTurn } from 'node:timers/promises'
import { LRUCache } from 'lru-cache'
import type { ContentInfo } from '../../job/job.ts'
import { freeMemory, storedAtOnceBytes, storedChunkBytes, toMultiples } from '../../job/chunks.ts'
import { type LeaseHeld, LeaseLost, OffsetMismatch } from '../../job/lease.ts'
import type { ResultReader } from '../../store/store.ts'
import { together } from '../../store/together.ts'
import { createResultDigest, type ResultDigest } from './result-digest.ts'
import type { Appended, RunJob, Stored } from './run-job.ts'

/**
 * Results that a worker uploads as bytes, in one or more requests. Both throw LeaseLost, OffsetMismatch,
 * STORE_UNAVAILABLE.
 */
export type Uploads = {
  /**
   * Appends bytes as they arrive, with a few chunks in memory, and renews the lease meanwhile. Throws also what
   * `bytes` throws; the whole chunks that arrived before are kept.
   */
  store: (lease: LeaseHeld, offset: number, bytes: AsyncIterable<Uint8Array>, content: ContentInfo) => Promise<Stored>
  /**
   * Completes a run with the bytes that it uploaded, or without a result if it uploaded none. Throws OffsetMismatch if
   * these are not the `expected` ones; the run then goes on.
   */
  complete: (lease: LeaseHeld, expected?: ExpectedBytes) => ReturnType<RunJob['complete']>
}

/** What the worker says that it has uploaded; `sha256` in base64. */
export type ExpectedBytes = { sizeBytes?: number, sha256?: string }

export type UploadsNeeds = {
  runJob: Pick<RunJob, 'append' | 'appended' | 'heartbeat' | 'complete' | 'findCompleted'>
  read: ResultReader['read']
  /** ms of a clock that only goes forward. */
  monotonicNow: () => number
}

const otherSize = (stored: number, named: number) =>
  new OffsetMismatch(stored, `the stored result has ${stored} bytes, and sizeBytes says ${named}`)

const otherDigest = (stored: string, sizeBytes: number) => new OffsetMismatch(
  sizeBytes, `the stored result has the sha-256 ${stored}, and Repr-Digest says another`)

const digestsMax = 256

/**
 * The digests of uploads under way, so that a completion need not read the bytes back. What is stored under a lease only
 * grows: a digest of as many bytes as are stored is that of these bytes, whichever processes have stored them.
 */
const createDigests = () => {
  const kept = new LRUCache<string, ResultDigest>({ max: digestsMax })
  return {
    /** The digest of the stored bytes, for its caller alone; undefined: another process has stored some of them. */
    take: ({ leaseToken }: LeaseHeld, sizeBytes: number): ResultDigest | undefined => {
      const digest = kept.get(leaseToken)
      kept.delete(leaseToken)
      if (digest?.size() === sizeBytes) return digest
      return sizeBytes === 0 ? createResultDigest() : undefined
    },
    keep: ({ leaseToken }: LeaseHeld, digest: ResultDigest): void => { kept.set(leaseToken, digest) }
  }
}

// The bytes may take longer than a lease: while they arrive, the lease is renewed every third of its length.
const createRenewingLease = ({ runJob, monotonicNow }: UploadsNeeds) =>
  async function * (lease: LeaseHeld, leaseMs: number, bytes: AsyncIterable<Uint8Array>) {
    let renewedAt = monotonicNow()
    for await (const piece of bytes) {
      if (monotonicNow() - renewedAt >= leaseMs / 3) {
        await runJob.heartbeat(lease)
        renewedAt = monotonicNow()
      }
      yield piece
    }
  }

export const createUploads = (needs: UploadsNeeds): Uploads => {
  const { runJob, read } = needs
  const renewingLease = createRenewingLease(needs)
  const digests = createDigests()

  // The answer to a completion may have been lost: then the lease is over, and the worker completes again.
  const lost = (lease: LeaseHeld) => async (error: unknown) => {
    const completed = error instanceof LeaseLost ? await runJob.findCompleted(lease) : undefined
    if (completed === undefined) throw error
    return completed
  }

  const digestAll = async (lease: LeaseHeld, leaseMs: number, bytes: AsyncIterable<Uint8Array>) => {
    const digest = createResultDigest()
    for await (const piece of renewingLease(lease, leaseMs, bytes)) {
      digest.add(piece)
      freeMemory(piece)
      // A gigabyte takes seconds, during which other requests must be answered.
      await nextTurn()
    }
    return digest
  }

  const digestStored = (lease: LeaseHeld, { run, sizeBytes, leaseMs }: Pick<Appended, 'run' | 'sizeBytes' | 'leaseMs'>) =>
    digestAll(lease, leaseMs, read({ jobId: lease.jobId, run }, 0, sizeBytes)).catch(async (error: unknown) => {
      // Once the run is over its bytes may be removed while they are read: then the cause is the lost lease.
      await runJob.heartbeat(lease)
      throw error
    })

  return {
    store: async (lease, offset, bytes, content) => {
      const { sizeBytes, cancelRequested, leaseMs } = await runJob.appended(lease)
      // Rejected before the first byte is read.
      if (offset !== sizeBytes) throw new OffsetMismatch(sizeBytes)
      let stored: Stored = { sizeBytes, cancelRequested }
      const digest = digests.take(lease, sizeBytes)
      const digestWhileStored = async (bytes: Uint8Array) => {
        // The database gets the bytes first. Many may have arrived at once: the event loop gets a turn in between.
        await nextTurn()
        digest?.add(bytes)
      }
      try {
        for await (const next of toMultiples(renewingLease(lease, leaseMs, bytes), storedChunkBytes, storedAtOnceBytes)) {
          [stored] = await together(runJob.append(lease, stored.sizeBytes, next, content), digestWhileStored(next))
        }
      } finally {
        if (digest?.size() === stored.sizeBytes) digests.keep(lease, digest)
      }
      return stored.sizeBytes > 0 ? stored : await runJob.append(lease, 0, new Uint8Array(0), content)
    },
    complete: async (lease, expected = {}) => {
      const appended = await runJob.appended(lease).catch(lost(lease))
      if (!('run' in appended)) return appended
      const { run, sizeBytes, isBegun, leaseMs, contentType, fileName } = appended
      const named = expected.sizeBytes ?? sizeBytes
      if (named !== sizeBytes) throw otherSize(sizeBytes, named)
      const digest = digests.take(lease, sizeBytes) ?? await digestStored(lease, { run, sizeBytes, leaseMs })
      // A completion may be rejected, or its answer lost: the worker then completes again.
      digests.keep(lease, digest)
      const facts = { contentType, fileName, ...digest.facts(contentType) }
      if (expected.sha256 !== undefined && expected.sha256 !== facts.sha256) throw otherDigest(facts.sha256, sizeBytes)
      return await runJob.complete(lease, isBegun ? { kind: 'appended', facts } : { kind: 'none' })
    }
  }
}
