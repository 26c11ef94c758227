import { JobServiceError, parse } from '../errors.ts'
import { ask, isTransient, open, type Transport } from '../transport.ts'
import { isBytes, type LeaseRequest, runPath, upload } from './upload.ts'
import type { Claim, Handler, Progress, WorkerJob } from './worker-types.ts'

/*
 * One run of a job by a worker: it keeps the lease, runs the handler, and reports the end.
 */

export type RunNeeds = {
  transport: Transport
  handler: Handler
  leaseSeconds: number
  /** Aborts when the worker stops. */
  stopping: AbortSignal
  onError: (error: unknown) => void
}

type Reported = { cancelRequested?: boolean }

const inlineBytesMax = 256 * 1024

const isLost = (error: unknown): boolean =>
  error instanceof JobServiceError && ['LEASE_LOST', 'JOB_EXPIRED', 'JOB_NOT_FOUND'].includes(error.code)

/** The requests of one run. `onLost` is called once the lease is lost, `onCancel` when a client asks for the end. */
const createReports = (
  transport: Transport, lease: LeaseRequest, onLost: (error: unknown) => void, onCancel: () => void
) => async (command: string, body: object, headers: Record<string, string> = {}): Promise<void> => {
  const { jobId, leaseToken, signal } = lease
  try {
    const answer = await ask(transport, runPath(jobId, command), {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'lease-token': leaseToken, ...headers },
      body: JSON.stringify(body),
      signal
    })
    const { cancelRequested } = parse<Reported>(answer)
    if (cancelRequested === true) onCancel()
  } catch (error) {
    if (isLost(error)) onLost(error)
    throw error
  }
}

const toDetails = (details: unknown): object => {
  try {
    return details === undefined ? {} : { details: JSON.parse(JSON.stringify(details)) as unknown }
  } catch {
    // What is no JSON must not keep the failure from being reported.
    return {}
  }
}

const toFailure = (error: unknown) => {
  const { code, name, message, details, retryable } = error instanceof Error
    ? error as Error & { code?: unknown, details?: unknown, retryable?: unknown }
    : { code: undefined, name: 'Error', message: String(error), details: undefined, retryable: undefined }
  const failure = { code: typeof code === 'string' && code !== '' ? code : name, message, ...toDetails(details) }
  return { error: failure, retryable: retryable !== false }
}

const toJson = (value: unknown): Blob => new Blob([JSON.stringify(value)], { type: 'application/json' })

/** Runs a claimed job to its end. Throws what kept it from reporting that. */
export const runJob = async ({ transport, handler, leaseSeconds, stopping, onError }: RunNeeds, claim: Claim): Promise<void> => {
  const { jobId, type, attempt, maxAttempts, tenant, leaseToken, inputUrl, inputContentType = '' } = claim
  // Ends the handler, and the requests of the run once nothing of them counts any more.
  const run = new AbortController()
  const lost = new AbortController()
  const lease: LeaseRequest = { jobId, leaseToken, signal: lost.signal }
  const onStop = (): void => { run.abort(stopping.reason) }
  stopping.addEventListener('abort', onStop, { once: true })
  if (stopping.aborted) onStop()
  const onLost = (error: unknown): void => {
    run.abort(error)
    lost.abort(error)
  }
  const report = createReports(transport, lease, onLost, () => { run.abort(new Error('the job was cancelled')) })
  const ended = new AbortController()

  const keepLease = async (): Promise<void> => {
    for (;;) {
      await transport.platform.sleep(leaseSeconds * 1000 / 3, ended.signal)
      // Of an outage the lease may see the end, so only its loss ends this.
      await report('progress', {}).catch((error: unknown) => {
        if (lost.signal.aborted) throw error
        if (!ended.signal.aborted) onError(error)
      })
    }
  }
  const openInput = (): Promise<Response> =>
    open(transport, runPath(jobId, 'input'), { headers: { accept: '*/*', 'lease-token': leaseToken }, signal: run.signal })
  const end = async (value: unknown): Promise<void> => {
    const json = value === undefined || isBytes(value) ? null : toJson(value)
    if (value === undefined) return await report('complete', {})
    if (json !== null && json.size <= inlineBytesMax) return await report('complete', { result: value })
    const { sizeBytes, sha256 } = await upload(transport, lease, json ?? value as Response)
    await report('complete', { sizeBytes }, { 'repr-digest': `sha-256=:${sha256}:` })
  }

  const heartbeat = keepLease().catch(() => {})
  let isEnding = false
  try {
    const isJson = inputUrl !== undefined && inputContentType.startsWith('application/json')
    const input: unknown = isJson ? await (await openInput()).json() : claim.input
    const progress = (body: Progress): Promise<void> => report('progress', body)
    const job: WorkerJob = {
      jobId, type, attempt, maxAttempts, tenant, input, signal: run.signal, openInput, progress
    }
    const value = await handler(job)
    isEnding = true
    await end(value)
  } catch (error) {
    if (lost.signal.aborted) return
    // The result could not be reported, or its response was lost: the job has not failed. Its lease decides.
    if (isEnding && error instanceof JobServiceError && isTransient(error)) throw error
    // What a worker was stopped in the middle of is no failure of the job.
    if (stopping.aborted && run.signal.reason === stopping.reason) await report('release', {})
    else await report('fail', toFailure(error))
  } finally {
    ended.abort()
    stopping.removeEventListener('abort', onStop)
    await heartbeat
  }
}
