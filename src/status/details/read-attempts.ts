import type { Attempt } from '../../job/attempt.ts'
import type { StatusEntry } from '../../job/status-entry.ts'
import type { JobReader } from '../../store/store.ts'
import type { Expose } from '../expose.ts'

/** Reads the runs of a job, oldest first, with its status at that moment. Throws STORE_UNAVAILABLE. */
export type ReadAttempts = (jobId: string) => Promise<{ entry: StatusEntry, attempts: Attempt[] }>

export type ReadAttemptsNeeds = { findWithAttempts: JobReader['findWithAttempts'], expose: Expose }

export const createReadAttempts = ({ findWithAttempts, expose }: ReadAttemptsNeeds): ReadAttempts => async jobId => {
  const { lookup, attempts } = await findWithAttempts(jobId)
  // The end of a run reveals the state of the job, like any other response.
  return { entry: await expose(lookup), attempts }
}
