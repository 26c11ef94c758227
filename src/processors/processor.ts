import type { TSchema } from '@sinclair/typebox'
import type { Database } from 'better-sqlite3'

/** Whose rows a run may read: its own tenant's and those without a tenant, or every row. */
export type Access = { tenant: string, allTenants: boolean }

/** How far a run has come; what is absent is unchanged. `percent` is 0 to 100, `done` and `total` count whatever the processor counts. */
export type ProgressReport = { percent?: number, done?: number, total?: number, stage?: string, message?: string }

/** Bytes that came beside the JSON input. `read` gives them from the start, in pieces, with one piece in memory at a time. */
export type RawInput = { sizeBytes: number, read: () => Iterable<Uint8Array> }

/** What a processor may touch while it runs. */
export type ProcessorContext = {
  access: Access
  /** Null where the input is JSON alone. */
  rawInput: RawInput | null
  /** A read-only connection to the job database; whoever opens it closes it. */
  openDatabase: () => Database
  progress: (report: ProgressReport) => void
}

/**
 * A result: what it is, then its bytes in order. `message` is the last progress message, `counts` are figures by name;
 * both are asked for after the last byte.
 */
export type ProcessorOutput = {
  contentType: string
  fileName: string
  message?: string | (() => string)
  counts?: () => Readonly<Record<string, number>>
  body: Iterable<Uint8Array> | AsyncIterable<Uint8Array>
}

/**
 * One kind of job that the embedded worker can do. The event loop loads it for everything but `run`, which is called in a
 * thread and imports what it needs there.
 *
 * `input` has passed `inputSchema` when `run` gets it, or `rawInputSchema` where raw bytes come with it; without that
 * schema a processor never gets any. A ProcessorError becomes the job's failure as it is.
 */
export type Processor = {
  type: string
  inputSchema: TSchema
  rawInputSchema?: TSchema
  needsScopes: string[]
  run: (input: unknown, context: ProcessorContext) => Promise<ProcessorOutput>
}

/** Why a run failed, in words for the client: never with a piece of the input in them. */
export class ProcessorError extends Error {
  override readonly name = 'ProcessorError'
  readonly code: string
  readonly retryable: boolean
  readonly details?: unknown

  constructor (code: string, message: string, options: { retryable?: boolean, details?: unknown, cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.retryable = options.retryable ?? false
    if (options.details !== undefined) this.details = options.details
  }
}
