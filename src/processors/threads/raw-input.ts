import type { Database } from 'better-sqlite3'
import type { StoredBytes } from './messages.ts'
import type { RawInput } from '../processor.ts'

/**
 * The bytes of a job's input, as they are stored in chunks. Each reading has a connection of its own, and no transaction
 * that would outlast a chunk: a long one would keep the write-ahead log from shrinking.
 *
 * Reading throws where the chunks are not what was stored, as when the job has been erased meanwhile.
 */
export const toRawInput = ({ inputId, sizeBytes }: StoredBytes, openDatabase: () => Database): RawInput => ({
  sizeBytes,
  read: function * () {
    const database = openDatabase()
    try {
      const chunkAt = database.prepare<[string, number], Uint8Array>(
        'SELECT bytes FROM JobInputChunk WHERE inputId = ? AND startOffset = ?'
      ).pluck()
      let offset = 0
      while (offset < sizeBytes) {
        const bytes = chunkAt.get(inputId, offset)
        if (bytes === undefined || bytes.byteLength === 0) throw new Error('A chunk of the input is missing.')
        offset += bytes.byteLength
        if (offset > sizeBytes) throw new Error('The input is longer than it was.')
        yield bytes
      }
    } finally {
      database.close()
    }
  }
})
