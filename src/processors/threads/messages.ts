import type { MessagePort } from 'node:worker_threads'
import type { TSchema } from '@sinclair/typebox'
import type { StoredBytes } from '../../store/store.ts'
import type { Access, ProgressReport } from '../processor.ts'

/** Bytes of every chunk but the last. */
export const chunkBytes = 64 * 1024

/** A job as the thread needs it. `input` is JSON text, so that it is parsed in the thread. */
export type ProcessorTask = { type: string, input: string, rawInput: StoredBytes | null, access: Access }

/**
 * What runs a type of job: `module` is the URL of the one that exports `run`, `schema` that of the input, and `check` the
 * code of a module that exports the check of the schema.
 */
export type ThreadWork = { module: string, schema: TSchema, check: string }

/** What the pool sends to a thread. */
export type ThreadTask = ThreadWork & { task: ProcessorTask, port: MessagePort, databaseUrl: string }

/** From the thread, in order. The pool answers a chunk and the end, with any message, once they are processed. */
export type ThreadMessage =
  { kind: 'output', contentType: string, fileName: string } |
  { kind: 'progress', report: ProgressReport } |
  { kind: 'chunk', bytes: Uint8Array } |
  { kind: 'end' }

/** A run's result without its bytes; `message` is the last progress message, `counts` are figures by name. */
export type RunOutput = { contentType: string, fileName: string, message?: string, counts?: Record<string, number> }
