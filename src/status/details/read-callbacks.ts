import type { Callback } from '../../job/callbacks/callback.ts'
import type { StatusEntry } from '../../job/status-entry.ts'
import type { JobReader } from '../../store/store.ts'
import type { Expose } from '../expose.ts'

/** Reads the callbacks of a job, with its status at that moment. Throws STORE_UNAVAILABLE. */
export type ReadCallbacks = (jobId: string) => Promise<{ entry: StatusEntry, callbacks: Callback[] }>

export type ReadCallbacksNeeds = { findWithCallbacks: JobReader['findWithCallbacks'], expose: Expose }

export const createReadCallbacks = (
  { findWithCallbacks, expose }: ReadCallbacksNeeds
): ReadCallbacks => async jobId => {
  const { lookup, callbacks } = await findWithCallbacks(jobId)
  // That a callback is due reveals that its job has ended.
  return { entry: await expose(lookup), callbacks }
}
