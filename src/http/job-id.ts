import { ServiceFailure } from '../errors.ts'
import { isJobId, jobIdPattern } from '../job/job.ts'
import type { ViewName } from './paths.ts'

/**
 * The failure for an id that names no job, an id that cannot name one, and a job of another tenant: one text for all
 * three, so that a client cannot tell them apart.
 */
export const jobNotFound = new ServiceFailure('JOB_NOT_FOUND', 'No job with this id is visible to this token.')

/** Throws if the id cannot be a job's: INVALID_TASK_ID in the task view, JOB_NOT_FOUND in the v1 view. */
export const requireJobId = (view: ViewName, id: string): void => {
  if (isJobId(id)) return
  if (view === 'v1') throw jobNotFound
  throw new ServiceFailure('INVALID_TASK_ID', 'A task id has 1 to 128 characters of A-Z a-z 0-9 . _ ~ - and is neither . nor ..', {
    errors: [{ field: 'taskId', rule: 'pattern', message: `taskId must match ${jobIdPattern}` }]
  })
}
