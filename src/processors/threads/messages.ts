import type { MessagePort } from 'node:worker_threads'
import type { StoredBytes } from '../../store/store.ts'
import type { Access, ProgressReport } from '../processor.ts'

/** Bytes of every chunk but the last. */
export const chunkBytes = 64 * 1024

/** A job as the thread needs it. `input` is JSON text, so that it is parsed in the thread. */
export type ProcessorTask = { type: string, input: string, rawInput: StoredBytes | null, access: Access }

/** What the pool sends to a thread. `registry` is the URL of the module that exports `processors`. */
export type ThreadTask = { task: ProcessorTask, port: MessagePort, databaseUrl: string, registry: string }

/** From the thread, in order. The pool answers a chunk and the end, with any message, once they are processed. */
export type ThreadMessage =
  { kind: 'output', contentType: string, fileName: string } |
  { kind: 'progress', report: ProgressReport } |
  { kind: 'chunk', bytes: Uint8Array } |
  { kind: 'end' }

/** A run's result without its bytes; `message` is the last progress message, `counts` are figures by name. */
export type RunOutput = { contentType: string, fileName: string, message?: string, counts?: Record<string, number> }
