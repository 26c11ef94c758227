import { changes, type Change, type ChangesOptions, list, type ListFilter } from './changes.ts'
import { type ErrorCode, JobServiceError, parse } from './errors.ts'
import { events, type JobEvent } from './events.ts'
import type { components, operations } from './openapi.ts'
import { platform, type Platform } from './platform.ts'
import { result, type ResultOptions } from './result.ts'
import { type StateOptions, stream, type StreamEvent, type StreamOptions, type StreamState } from './stream.ts'
import { ask, type CallOptions, link, open, type Request, type Token, type Transport } from './transport.ts'
import { type Task, taskPath, waitFor, type WaitOptions } from './wait-for.ts'
import type { Handler, Worker, WorkerJob, WorkerOptions } from './worker/worker-types.ts'

/*
 * The client of a job status service, for browsers, Deno and Node 20 and later.
 */

export { JobServiceError }
export type {
  CallOptions, Change, ChangesOptions, components, ErrorCode, Handler, JobEvent, ListFilter, operations, ResultOptions,
  StateOptions, StreamEvent, StreamOptions, StreamState, Task, Token, WaitOptions, Worker, WorkerJob, WorkerOptions
}

/**
 * `url`: that of the service. `patienceMs`: how long a call goes on trying while the service does not answer (60,000).
 * `platform`: what to use in place of the platform's own.
 */
export type ClientOptions = { url: string, token?: Token, patienceMs?: number, platform?: Partial<Platform> }

/** JSON text to be sent as it is, with every digit of its numbers. */
export type JsonText = { readonly json: string, readonly isJsonText: true }

export const jsonText = (json: string): JsonText => ({ json, isJsonText: true })

type Submission = operations['submitJob']['requestBody']['content']['application/json']

/** A job that was accepted, in the v1 view. */
export type Submitted = operations['submitJob']['responses']['202']['content']['application/json']

/**
 * `idempotencyKey`: submissions with the same one are one job; without, the client makes one, so that it can repeat the
 * request. The others: as the members of `POST /api/v1/jobs`.
 */
export type SubmitOptions = Omit<Submission, 'type' | 'input'> & CallOptions & { idempotencyKey?: string }

export type RequestOptions = CallOptions & Pick<Request, 'method' | 'headers' | 'body'>

/** The calls of the client. Each throws JobServiceError, and the reason of its signal once that aborts. */
export type Client = {
  /** `input`: any JSON value, or a jsonText. */
  submit: (type: string, input: unknown, options?: SubmitOptions) => Promise<Submitted>
  status: (jobId: string, options?: CallOptions) => Promise<Task>
  waitFor: (jobId: string, options?: WaitOptions) => Promise<Task>
  events: (jobId: string, options?: StateOptions) => AsyncGenerator<JobEvent, void, void>
  list: (filter?: ListFilter & CallOptions) => AsyncGenerator<Task, void, void>
  changes: (options?: ChangesOptions) => AsyncGenerator<Change, never, void>
  result: (jobId: string, options?: ResultOptions) => Promise<Response>
  cancel: (jobId: string, options?: CallOptions) => Promise<Task>
  /** Needs the scope jobs:work. */
  worker: (types: readonly string[], handler: Handler, options?: WorkerOptions) => Worker
  /**
   * Any other request of the API, by its path (`/api/v1/service`); a response with a status below 400. It is sent again
   * where the answer was lost, unless `patienceMs` is 0.
   */
  request: (path: string, options?: RequestOptions) => Promise<Response>
  /** The events of a path that has some: `/api/events`, `/api/jobs/{taskId}/events`. */
  stream: (path: string, options?: StreamOptions) => AsyncGenerator<StreamEvent, void, void>
}

const isJsonText = (value: unknown): value is JsonText =>
  (value as Partial<JsonText> | null | undefined)?.isJsonText === true

// Browsers have no randomUUID for pages that came over plain HTTP.
const createKey = (): string => crypto.getRandomValues(new Uint32Array(4)).join('-')

const submit = async (
  transport: Transport, type: string, input: unknown,
  { idempotencyKey, signal, patienceMs: _, ...members }: SubmitOptions
): Promise<Submitted> => {
  const text = isJsonText(input) ? input.json : JSON.stringify(input ?? null)
  return parse(await ask(transport, '/api/v1/jobs', {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'idempotency-key': idempotencyKey ?? createKey() },
    body: `${JSON.stringify({ type, ...members }).slice(0, -1)},"input":${text}}`,
    signal
  }))
}

const askTask = async (transport: Transport, path: string, request: Request): Promise<Task> =>
  parse<components['schemas']['TaskStatus']>(await ask(transport, path, request)).data

/** Its part of the client is loaded when the first worker starts: most pages have none. */
const worker = (
  transport: Transport, types: readonly string[], handler: Handler, options: WorkerOptions
): Worker => {
  const { signal, abort, unlink } = link(options.signal)
  const done = import('./worker/worker.ts')
    .then(({ startWorker }) => startWorker(transport, types, handler, { ...options, signal }).done)
    .finally(unlink)
  // Its failure is for who awaits it.
  done.catch(() => {})
  return {
    done,
    stop: () => {
      abort()
      return done
    }
  }
}

/** Makes a client of the service at a URL. */
export const createClient = ({ url, token, patienceMs = 60_000, platform: own }: ClientOptions): Client => {
  const transport: Transport = {
    base: url.replace(/\/+$/, ''), token, patienceMs, platform: { ...platform, ...own }
  }
  const transportOf = (options: CallOptions): Transport => ({ ...transport, patienceMs: options.patienceMs ?? patienceMs })
  return {
    submit: (type, input, options = {}) => submit(transportOf(options), type, input, options),
    status: (jobId, options = {}) => askTask(transportOf(options), taskPath(jobId, '/status'), { signal: options.signal }),
    waitFor: (jobId, options = {}) => waitFor(transportOf(options), jobId, options),
    events: (jobId, options = {}) => events(transportOf(options), jobId, options),
    list: (filter = {}) => list(transportOf(filter), filter),
    changes: (options = {}) => changes(transportOf(options), options),
    result: (jobId, options = {}) => result(transportOf(options), jobId, options),
    cancel: (jobId, { signal, ...options } = {}) =>
      askTask(transportOf(options), taskPath(jobId, '/cancel'), { method: 'POST', signal }),
    worker: (types, handler, options = {}) => worker(transport, types, handler, options),
    request: (path, options = {}) => open(transportOf(options), path, options),
    stream: (path, options = {}) => stream(transportOf(options), path, options)
  }
}
