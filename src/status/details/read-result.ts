import type { StatusEntry } from '../../job/status-entry.ts'
import { isWebUrl, type JobLookup, type ResultFacts } from '../../job/job.ts'
import type { BytesOf, PartialResult } from '../../store/store.ts'
import type { Expose } from '../expose.ts'

/** Reads the bytes from `start` to before `end`; rejects where they end early. */
export type ReadBytes = (start: number, end: number) => AsyncGenerator<Uint8Array, void, void>

/** When stored bytes are due to be removed, in ms since 1970, and in how many ms from now. */
export type Expiry = { at: number, inMs: number }

/**
 * What a client can fetch: stored bytes (`expiry` null: they stay), the bytes that a running job has sent so far, a URL
 * elsewhere, a result that was removed (times in ms since 1970), or nothing. `entry`: the job as it was read.
 */
export type OpenedResult = { entry: StatusEntry } & (
  | { kind: 'stored', facts: ResultFacts, run: number, expiry: Expiry | null, read: ReadBytes }
  | { kind: 'partial', facts: PartialResult, read: ReadBytes }
  | { kind: 'external', url: string }
  | { kind: 'expired', expiredAt: number }
  | { kind: 'none' }
)

/** Opens the result of a job, finished or not. Throws STORE_UNAVAILABLE. */
export type ReadResult = (jobId: string) => Promise<OpenedResult>

export type ReadResultNeeds = {
  find: (jobId: string) => Promise<JobLookup>
  expose: Expose
  /** ms since 1970. */
  now: () => number
  findPartial: (jobId: string) => Promise<PartialResult | undefined>
  findRun: (jobId: string) => Promise<number>
  read: (of: BytesOf, start: number, end: number) => AsyncGenerator<Uint8Array, void, void>
}

export const createReadResult = ({
  find, expose, now, findPartial, findRun, read
}: ReadResultNeeds): ReadResult => async jobId => {
  // Read before the record, so that the bytes of a running job are no newer than the status that goes with them.
  const partial = await findPartial(jobId)
  const lookup = await find(jobId)
  // A result reveals a state, like any other response.
  const entry = await expose(lookup)
  if (lookup.kind !== 'job') return { entry, kind: 'none' }
  const { job } = lookup
  if (job.state === 'running' && partial?.attempt === job.attempt && partial.run === await findRun(jobId)) {
    const { run } = partial
    return { entry, kind: 'partial', facts: partial, read: (start, end) => read({ jobId, run }, start, end) }
  }
  if (job.state !== 'succeeded') return { entry, kind: 'none' }
  const { result, resultUrl, resultExpiredAt, expiresAt } = job
  if (resultExpiredAt !== null) return { entry, kind: 'expired', expiredAt: resultExpiredAt }
  if (result !== null) {
    const { sha256 } = result
    const expiry = expiresAt === null ? null : { at: expiresAt, inMs: expiresAt - now() }
    return {
      entry, kind: 'stored', facts: result, run: await findRun(jobId), expiry, read: (start, end) => read({ jobId, sha256 }, start, end)
    }
  }
  return isWebUrl(resultUrl)
    ? { entry, kind: 'external', url: new URL(resultUrl).href }
    : { entry, kind: 'none' }
}
