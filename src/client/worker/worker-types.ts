import type { operations } from '../openapi.ts'

/** What a claim returns. */
export type Claim = operations['claimJob']['responses']['200']['content']['application/json']

/** A progress report; all members are optional. */
export type Progress = NonNullable<operations['reportProgress']['requestBody']>['content']['application/json']

/**
 * A job to be run. `input` is undefined where the client sent raw bytes: `openInput` reads them. `signal` aborts when
 * the run has to stop: a client cancelled the job, its lease is lost, or the worker shuts down.
 */
export type WorkerJob = Pick<Claim, 'jobId' | 'type' | 'attempt' | 'maxAttempts' | 'tenant'> & {
  input: unknown
  signal: AbortSignal
  progress: (report: Progress) => Promise<void>
  openInput: () => Promise<Response>
}

/**
 * Runs a job and returns its result: bytes (a Response, Blob, web stream, ArrayBuffer or a view of one), any other value
 * as JSON, or undefined for none. What it throws becomes the failure; `retryable: false` in it ends the job at once.
 */
export type Handler = (job: WorkerJob) => unknown

/**
 * `concurrency`: the most jobs at once (1). `leaseSeconds`: without a report for so long, the job goes to another worker
 * (30). `onError` is called with what kept the worker from its work; it goes on.
 */
export type WorkerOptions = {
  concurrency?: number, leaseSeconds?: number, signal?: AbortSignal, onError?: (error: unknown) => void
}

/** `done` rejects if the token is not accepted. `stop` releases what has not ended, and resolves with `done`. */
export type Worker = { done: Promise<void>, stop: () => Promise<void> }
