import type { Access } from '../job/access.ts'

/** A record as a report needs it. Times are as they were written; `errorDetails` is null unless the job failed. */
export type RecordRow = {
  type: string | null
  status: string
  startTime: string | null
  endTime: string | null
  createdAt: string | null
  errorDetails: string | null
}

/** `total` counts the records that exist when the reading begins; `pages` has each of them once and no later ones. */
export type RecordPages = { total: number, pages: AsyncIterable<RecordRow[]> }

/** Where the raw bytes of a job's input are stored. */
export type StoredBytes = { inputId: string, sizeBytes: number }

/**
 * What a processor's thread reads. The database is opened by the first read, and no transaction outlasts a page or a
 * chunk: a long one would keep the write-ahead log from shrinking.
 */
export type ReadOnlyStore = {
  /** The records that `access` allows, of one type or of all (undefined). A page is empty where it has others' only. */
  records: (access: Access, type: string | undefined) => Promise<RecordPages>
  /** The bytes in order, one chunk in memory at a time. Throws where they differ in size from `sizeBytes`. */
  readInput: (stored: StoredBytes) => AsyncGenerator<Uint8Array, void, void>
  close: () => Promise<void>
}
