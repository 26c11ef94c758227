import type { MessagePort } from 'node:worker_threads'
import type { StoredBytes } from '../../store/store.ts'
import type { Access, ProgressReport } from '../processor.ts'

/** Bytes of every chunk but the last. */
export const chunkBytes = 64 * 1024

/** A job as the thread needs it. `input` is JSON text: parsing it is work too. */
export type ProcessorTask = { type: string, input: string, rawInput: StoredBytes | null, access: Access }

/** What the pool hands to a thread. `registry` is the URL of the module that exports `processors`. */
export type ThreadTask = { task: ProcessorTask, port: MessagePort, databasePath: string, registry: string }

/** From the thread, in order. A chunk and the end are answered, with any message, once they have been dealt with. */
export type ThreadMessage =
  { kind: 'output', contentType: string, fileName: string } |
  { kind: 'progress', report: ProgressReport } |
  { kind: 'chunk', bytes: Uint8Array } |
  { kind: 'end' }

/** A run's result without its bytes; `message` is the last word on its progress, `counts` are figures by name. */
export type RunOutput = { contentType: string, fileName: string, message?: string, counts?: Record<string, number> }
