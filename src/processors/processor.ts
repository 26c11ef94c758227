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
 * Runs a job, in a thread. `input` is valid under the `inputSchema` of its type, or under `rawInputSchema` if raw bytes
 * come with it. A ProcessorError that it or the `body` throws becomes the job's failure as it is.
 */
export type RunProcessor = (input: unknown, context: ProcessorContext) => Promise<ProcessorOutput>

/** A type of job that the embedded worker can run. One without `rawInputSchema` gets no raw bytes. */
export type Processor = {
  type: string
  inputSchema: TSchema
  rawInputSchema?: TSchema
  needsScopes: string[]
  /**
   * The module that exports `run`, a RunProcessor. Only a thread imports it, when a job of the type is to run there, and
   * this object only the event loop: schemas take a thread longer to load than all the rest.
   */
  module: URL
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
