import type { MessagePort } from 'node:worker_threads'
import type { Access, ProgressReport } from './processor.ts'

/** Bytes of every chunk but the last. */
export const chunkBytes = 64 * 1024

/** A job as the thread needs it. `input` is JSON text: parsing it is work too. */
export type ProcessorTask = { type: string, input: string, access: Access }

/** What the pool hands to a thread. `registry` is the URL of the module that exports `processors`. */
export type ThreadTask = { task: ProcessorTask, port: MessagePort, databasePath: string, registry: string }

/** From the thread, in order. A chunk and the end are answered, with any message, once they have been dealt with. */
export type ThreadMessage =
  { kind: 'output', contentType: string, fileName: string } |
  { kind: 'progress', report: ProgressReport } |
  { kind: 'chunk', bytes: Uint8Array } |
  { kind: 'end' }

/** A run's result without its bytes; `message` is the last word on its progress. */
export type RunOutput = { contentType: string, fileName: string, message?: string }

/** How a run ended. An error loses its class between threads, so that a failure travels as a value. */
export type ThreadOutcome =
  { kind: 'succeeded', output: RunOutput } |
  { kind: 'failed', code: string, message: string, retryable: boolean, details?: unknown } |
  { kind: 'crashed', frames: string }
