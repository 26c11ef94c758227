import { toText } from '../job/recorded/values.ts'
import { toTime } from '../job/time.ts'
import type { Chunk } from './chunks.ts'
import { toFailureCode } from './records.ts'
import type { RecordRow, StoredBytes } from './store.ts'
import type { JobRow } from './tables.ts'

/*
 * What the read-only stores of all databases have in common.
 */

/** Rows read by one statement for one page. */
export const pageRows = 2000

/** The columns of a record that a report needs, with long texts cut. */
export type StoredRow = Pick<JobRow, 'type' | 'status' | 'startTime' | 'endTime' | 'createdMs' | 'errorDetails'>

export const toRecordRow = ({ status, createdMs, ...row }: StoredRow): RecordRow => ({
  type: toText(row.type),
  status,
  startedAt: toTime(row.startTime),
  finishedAt: toTime(row.endTime),
  createdAt: createdMs,
  failureCode: status === 'Failed' ? toFailureCode(row.errorDetails) : null
})

/** Reads the bytes of an input by their chunks. `chunksAt` returns some of them from an offset on; none: there are none. */
export async function * readChunks (
  { sizeBytes }: StoredBytes, chunksAt: (offset: number) => readonly Chunk[] | Promise<readonly Chunk[]>
): AsyncGenerator<Uint8Array, void> {
  let offset = 0
  while (offset < sizeBytes) {
    const chunks = await chunksAt(offset)
    // The job was erased meanwhile, for example.
    if (chunks.length === 0) throw new Error('A chunk of the input is missing.')
    for (const { startOffset, bytes } of chunks) {
      if (startOffset !== offset || bytes.byteLength === 0) throw new Error('A chunk of the input is missing.')
      offset += bytes.byteLength
      if (offset > sizeBytes) throw new Error('The input is longer than it was.')
      yield bytes
    }
  }
}
