import { createHash } from 'node:crypto'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { ServiceFailure } from '../errors.ts'
import { storedAtOnceBytes, storedChunkBytes, toMultiples } from '../job/chunks.ts'
import { appendInputBytes } from '../store/tx/inputs.ts'
import type { CommandNeeds } from './commit.ts'
import type { StoredInput } from './submit-job.ts'

/** How long stored bytes are kept after the last of them arrived, unless a job takes them. */
const keptMs = 3_600_000

/**
 * Stores bytes as they arrive, before the job that they belong to exists; a few chunks are in memory. Throws
 * PAYLOAD_TOO_LARGE if there are more than `bytesMax` or `announcedBytes` exceeds it, STORE_UNAVAILABLE, and what
 * `bytes` throws; the pruner then removes what was stored.
 */
export type StoreInput = (
  bytes: AsyncIterable<Uint8Array>, contentType: string, announcedBytes: number
) => Promise<StoredInput>

export type StoreInputNeeds = CommandNeeds & { randomId: () => string, bytesMax: number }

export const createStoreInput = ({ commit, now, randomId, bytesMax }: StoreInputNeeds): StoreInput =>
  async (bytes, contentType, announcedBytes) => {
    const requireFitting = (sizeBytes: number) => {
      if (sizeBytes <= bytesMax) return
      throw new ServiceFailure('PAYLOAD_TOO_LARGE', `The body is larger than ${bytesMax} bytes.`)
    }
    requireFitting(announcedBytes)
    const inputId = randomId()
    const hash = createHash('sha256')
    let sizeBytes = 0
    for await (const chunk of toMultiples(bytes, storedChunkBytes, storedAtOnceBytes)) {
      const startOffset = sizeBytes
      sizeBytes += chunk.byteLength
      requireFitting(sizeBytes)
      hash.update(chunk)
      await commit(async tx => {
        await appendInputBytes(tx, inputId, startOffset, chunk, now() + keptMs)
        return { changes: [], value: undefined }
      })
      // Several chunks may have arrived at once, and each waits for the disk: the event loop gets a turn in between.
      await nextTurn()
    }
    return { inputId, sizeBytes, contentType, sha256: hash.digest('base64') }
  }
