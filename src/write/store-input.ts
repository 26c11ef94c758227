import { createHash } from 'node:crypto'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { ServiceFailure } from '../errors.ts'
import { storedChunkBytes, toChunks } from '../job/chunks.ts'
import { appendInputChunk } from '../store/tx/inputs.ts'
import type { Transact } from '../store/store.ts'
import type { StoredInput } from './submit-job.ts'

/** How long bytes are kept after the last of them came, unless a job takes them. */
const keptMs = 3_600_000

/**
 * Stores bytes as they come, before there is a job that they belong to; at most one chunk is in memory. Throws
 * PAYLOAD_TOO_LARGE beyond `bytesMax` (or where so many are announced), STORE_UNAVAILABLE, and what `bytes` throws; what
 * was stored is then forgotten in time.
 */
export type StoreInput = (bytes: AsyncIterable<Uint8Array>, contentType: string, announcedBytes: number) => Promise<StoredInput>

export type StoreInputNeeds = {
  transact: Transact
  randomId: () => string
  /** ms since 1970. */
  now: () => number
  bytesMax: number
}

export const createStoreInput = ({ transact, randomId, now, bytesMax }: StoreInputNeeds): StoreInput =>
  async (bytes, contentType, announcedBytes) => {
    const requireFitting = (sizeBytes: number) => {
      if (sizeBytes > bytesMax) throw new ServiceFailure('PAYLOAD_TOO_LARGE', `The body is larger than ${bytesMax} bytes.`)
    }
    requireFitting(announcedBytes)
    const inputId = randomId()
    const hash = createHash('sha256')
    let sizeBytes = 0
    for await (const chunk of toChunks(bytes, storedChunkBytes)) {
      const startOffset = sizeBytes
      sizeBytes += chunk.byteLength
      requireFitting(sizeBytes)
      hash.update(chunk)
      await transact(tx => appendInputChunk(tx, inputId, startOffset, chunk, now() + keptMs))
      // Several pieces arrive at once, and each waits for the disk: others have their turn in between.
      await nextTurn()
    }
    return { inputId, sizeBytes, contentType, sha256: hash.digest('base64') }
  }
