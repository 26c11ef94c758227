import type { TSchema } from '@sinclair/typebox'
import type { Access } from '../job/input.ts'
import type { RecordPages } from '../store/store.ts'

export type { Access } from '../job/input.ts'

/**
 * How far a run has come; absent fields keep their value. `percent` is 0 to 100, `done` and `total` are in any unit.
 */
export type ProgressReport = { percent?: number, done?: number, total?: number, stage?: string, message?: string }

/** Bytes that were sent beside the JSON input. Each `read` starts at the first byte and holds one piece in memory. */
export type RawInput = { sizeBytes: number, read: () => AsyncIterable<Uint8Array> }

/** What a run is given beside its input. */
export type ProcessorContext = {
  /** Whose records the submitter may read. */
  access: Access
  /** Null where the input is JSON alone. */
  rawInput: RawInput | null
  /** The records that the submitter may read, page by page; of one type if it is given. */
  records: (filter?: { type?: string | undefined }) => Promise<RecordPages>
  progress: (report: ProgressReport) => void
  /** Milliseconds since 1970. */
  now: () => number
}

/**
 * A result: what it is, then its bytes in order. `message` is the last progress message, `counts` are figures by name;
 * where they are functions, they are called after the last byte.
 */
export type ProcessorOutput = {
  contentType: string
  fileName: string
  message?: string | (() => string)
  counts?: () => Readonly<Record<string, number>>
  body: Iterable<Uint8Array> | AsyncIterable<Uint8Array>
}

/**
 * A type of job that the embedded worker can run. The service's event loop imports this object for everything but
 * `run`, which is called in a thread and imports there what it needs.
 *
 * `input` is valid under `inputSchema` when `run` is called, or under `rawInputSchema` if raw bytes come with it; a
 * processor without `rawInputSchema` gets no raw bytes. A ProcessorError that `run` or `body` throws becomes the job's
 * failure as it is.
 */
export type Processor = {
  type: string
  inputSchema: TSchema
  rawInputSchema?: TSchema
  needsScopes: string[]
  run: (input: unknown, context: ProcessorContext) => Promise<ProcessorOutput>
}

/** Why a run failed. Clients read the message: it must never quote the input. */
export class ProcessorError extends Error {
  override readonly name = 'ProcessorError'
  readonly code: string
  readonly retryable: boolean
  readonly details?: unknown

  constructor (
    code: string, message: string, options: { retryable?: boolean, details?: unknown, cause?: unknown } = {}
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.retryable = options.retryable ?? false
    if (options.details !== undefined) this.details = options.details
  }
}
