import { isWebUrl, type JobLookup, type ResultFacts } from '../job/job.ts'
import type { Expose } from './expose.ts'
import type { StatusEntry } from './read-status.ts'

/** What there is to fetch: stored bytes, a place elsewhere, or nothing. `entry` is the job as it was found. */
export type OpenedResult = { entry: StatusEntry } & (
  | { kind: 'stored', facts: ResultFacts, read: () => AsyncGenerator<Uint8Array, void, void> }
  | { kind: 'external', url: string }
  | { kind: 'none' }
)

/** Opens the result of a succeeded job. Throws STORE_UNAVAILABLE. */
export type ReadResult = (jobId: string) => Promise<OpenedResult>

export type ReadResultNeeds = {
  find: (jobId: string) => Promise<JobLookup>
  expose: Expose
  read: (jobId: string, sizeBytes: number) => AsyncGenerator<Uint8Array, void, void>
}

export const createReadResult = ({ find, expose, read }: ReadResultNeeds): ReadResult => async jobId => {
  const lookup = await find(jobId)
  // A result reveals a state, like any answer.
  const entry = await expose(lookup)
  if (lookup.kind !== 'job' || lookup.job.state !== 'succeeded') return { entry, kind: 'none' }
  const { result, resultUrl } = lookup.job
  if (result !== null) return { entry, kind: 'stored', facts: result, read: () => read(jobId, result.sizeBytes) }
  return isWebUrl(resultUrl)
    ? { entry, kind: 'external', url: new URL(resultUrl).href }
    : { entry, kind: 'none' }
}
