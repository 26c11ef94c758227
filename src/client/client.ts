import { changes, type Change, type ChangesOptions, list, type ListFilter } from './changes.ts'
import { type ErrorCode, JobServiceError } from './errors.ts'
import { events, type JobEvent } from './events.ts'
import type { components, operations } from './openapi.ts'
import { platform, type Platform } from './platform.ts'
import { result, type ResultOptions } from './result.ts'
import { ask, type Token, type Transport } from './transport.ts'
import { type Task, taskPath, waitFor, type WaitOptions } from './wait-for.ts'
import type { Handler, Worker, WorkerJob, WorkerOptions } from './worker-types.ts'

/*
 * The client of a job status service, for browsers, Deno and Node 20 and later.
 */

export { JobServiceError }
export type {
  Change, ChangesOptions, components, ErrorCode, Handler, JobEvent, ListFilter, operations, ResultOptions, Task, Token,
  WaitOptions, Worker, WorkerJob, WorkerOptions
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
export type SubmitOptions = Omit<Submission, 'type' | 'input'> & { idempotencyKey?: string, signal?: AbortSignal }

type Signal = { signal?: AbortSignal }

/** The calls of the client. Each throws JobServiceError, and the reason of its signal once that aborts. */
export type Client = {
  /** `input`: any JSON value, or a jsonText. */
  submit: (type: string, input: unknown, options?: SubmitOptions) => Promise<Submitted>
  status: (jobId: string, options?: Signal) => Promise<Task>
  waitFor: (jobId: string, options?: WaitOptions) => Promise<Task>
  events: (jobId: string, options?: Signal) => AsyncGenerator<JobEvent, void, void>
  list: (filter?: ListFilter & Signal) => AsyncGenerator<Task, void, void>
  changes: (options?: ChangesOptions) => AsyncGenerator<Change, never, void>
  result: (jobId: string, options?: ResultOptions) => Promise<Response>
  cancel: (jobId: string, options?: Signal) => Promise<Task>
  /** Needs the scope jobs:work. */
  worker: (types: readonly string[], handler: Handler, options?: WorkerOptions) => Worker
}

const isJsonText = (value: unknown): value is JsonText =>
  typeof value === 'object' && value !== null && (value as Partial<JsonText>).isJsonText === true

const submit = async (
  transport: Transport, type: string, input: unknown, { idempotencyKey, signal, ...members }: SubmitOptions
): Promise<Submitted> => {
  const text = isJsonText(input) ? input.json : JSON.stringify(input ?? null)
  const { text: answer } = await ask(transport, '/api/v1/jobs', {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'idempotency-key': idempotencyKey ?? crypto.randomUUID() },
    body: `${JSON.stringify({ type, ...members }).slice(0, -1)},"input":${text}}`,
    signal
  })
  return JSON.parse(answer) as Submitted
}

const status = async (transport: Transport, jobId: string, { signal }: Signal): Promise<Task> => {
  const { text } = await ask(transport, taskPath(jobId, '/status'), { signal })
  return (JSON.parse(text) as components['schemas']['TaskStatus']).data
}

const cancel = async (transport: Transport, jobId: string, { signal }: Signal): Promise<Task> => {
  const { text } = await ask(transport, taskPath(jobId, '/cancel'), { method: 'POST', signal })
  return (JSON.parse(text) as components['schemas']['TaskStatus']).data
}

/** Its part of the client is loaded when the first worker starts: most pages have none. */
const worker = (
  transport: Transport, types: readonly string[], handler: Handler, options: WorkerOptions
): Worker => {
  const stopping = new AbortController()
  const signal = options.signal === undefined ? stopping.signal : AbortSignal.any([options.signal, stopping.signal])
  const done = import('./worker.ts').then(({ startWorker }) =>
    startWorker(transport, types, handler, { ...options, signal }).done)
  // Its failure is for who awaits it.
  done.catch(() => {})
  return {
    done,
    stop: () => {
      stopping.abort()
      return done
    }
  }
}

/** Makes a client of the service at a URL. */
export const createClient = ({ url, token, patienceMs = 60_000, platform: own }: ClientOptions): Client => {
  const transport: Transport = {
    base: url.replace(/\/+$/, ''), token, patienceMs, platform: { ...platform, ...own }
  }
  return {
    submit: (type, input, options = {}) => submit(transport, type, input, options),
    status: (jobId, options = {}) => status(transport, jobId, options),
    waitFor: (jobId, options = {}) => waitFor(transport, jobId, options),
    events: (jobId, options = {}) => events(transport, jobId, options),
    list: (filter = {}) => list(transport, filter),
    changes: (options = {}) => changes(transport, options),
    result: (jobId, options = {}) => result(transport, jobId, options),
    cancel: (jobId, options = {}) => cancel(transport, jobId, options),
    worker: (types, handler, options = {}) => worker(transport, types, handler, options)
  }
}
