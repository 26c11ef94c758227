import type { StatusEntry } from '../job/status-entry.ts'
import type { FastifyRequest } from 'fastify'
import { ServiceFailure } from '../errors.ts'
import { isJobId } from '../job/job.ts'
import { toIso } from '../job/time.ts'
import type { ReadStatus } from '../status/read-status.ts'
import { maySee, type Principal } from './auth/authenticate.ts'
import { type IfNoneMatch, parseIfNoneMatch, toETag, toFloor } from './conditional.ts'

/** The two views of one record, under the two prefixes. */
export type ViewName = 'v1' | 'task'

const prefixes = { v1: '/api/v1/jobs', task: '/api/jobs' } as const

/** Where a job's status is, in a view. */
export const statusPath = (view: ViewName, jobId: string): string =>
  view === 'v1' ? `${prefixes.v1}/${jobId}` : `${prefixes.task}/${jobId}/status`

/** Where a job's result is, in a view. */
export const resultPath = (view: ViewName, jobId: string): string => `${prefixes[view]}/${jobId}/result`

/** Where a job can be cancelled, in a view. */
export const cancelPath = (view: ViewName, jobId: string): string => `${prefixes[view]}/${jobId}/cancel`

// One failure for ids that never were, that are no ids, and that are somebody else's: nobody can tell them apart.
const notFound = () => new ServiceFailure('JOB_NOT_FOUND', 'No job with this id is known to you.')

/** Throws unless the id can be one: INVALID_TASK_ID in the task view, JOB_NOT_FOUND in the other. */
export const requireJobId = (view: ViewName, id: string): void => {
  if (isJobId(id)) return
  if (view === 'v1') throw notFound()
  throw new ServiceFailure('INVALID_TASK_ID', 'A task id has 1 to 128 characters of A-Z a-z 0-9 . _ ~ -', {
    errors: [{ field: 'taskId', rule: 'pattern', message: 'taskId must match ^[A-Za-z0-9._~-]{1,128}$' }]
  })
}

/** An entry with something to show, in one view: its ETag and its links. */
export type Representation = Readonly<{ view: ViewName, entry: StatusEntry, eTag: string, link: string }>

/** What is shown, and what the client has of it. */
export type VisibleStatus = { representation: Representation, condition: IfNoneMatch | undefined }

export type StatusAccessNeeds = { readStatus: ReadStatus, incarnation: string, representation: number, publicUrl: string | null }

/**
 * What one who may see a job is shown of it. Throws JOB_NOT_FOUND, INVALID_TASK_ID, JOB_EXPIRED, STORE_UNAVAILABLE, and
 * INTERNAL for a record that breaks BR-001. The tenant is compared before anything is revealed.
 */
export type StatusAccess = {
  readVisible: (view: ViewName, id: string, principal: Principal, ifNoneMatch: string | undefined) => VisibleStatus | Promise<VisibleStatus>
  /** Of an entry that is at hand, exposed already. */
  toRepresentation: (view: ViewName, entry: StatusEntry, principal: Principal) => Representation
}

const toLink = (base: string, view: ViewName, { jobId, hasResult, canCancel }: StatusEntry): string => {
  const links = [`<${base}${statusPath(view, jobId)}>; rel="status"`]
  if (hasResult) links.push(`<${base}${resultPath(view, jobId)}>; rel="result"`)
  if (canCancel) links.push(`<${base}${cancelPath(view, jobId)}>; rel="cancel"`)
  return links.join(', ')
}

export const createStatusAccess = ({ readStatus, incarnation, representation: number, publicUrl }: StatusAccessNeeds): StatusAccess => {
  // An entry is one of many answers: what follows from it alone is made once.
  const representations = { v1: new WeakMap<StatusEntry, Representation>(), task: new WeakMap<StatusEntry, Representation>() }

  const makeRepresentation = (view: ViewName, entry: StatusEntry): Representation => {
    const known = representations[view].get(entry)
    if (known !== undefined) return known
    const eTag = toETag(incarnation, entry.version, number)
    const made = Object.freeze({ view, entry, eTag, link: toLink(publicUrl ?? '', view, entry) })
    representations[view].set(entry, made)
    return made
  }

  const toRepresentation = (view: ViewName, entry: StatusEntry, principal: Principal): Representation => makeRepresentation(view, requireVisible(entry, principal))

  return {
    toRepresentation,
    readVisible: (view, id, principal, ifNoneMatch) => {
      requireJobId(view, id)
      const condition = parseIfNoneMatch(ifNoneMatch)
      const found = readStatus(id, toFloor(condition, incarnation))
      if (found instanceof Promise) return found.then(entry => ({ representation: toRepresentation(view, entry, principal), condition }))
      return { representation: toRepresentation(view, found, principal), condition }
    }
  }
}

/** Whether this principal may know that there is, or was, such a job. */
export const isVisible = (entry: StatusEntry, principal: Principal): boolean =>
  entry.state !== 'absent' && maySee(principal, entry.tenant)

/** The entry, unless it has nothing to show to this principal; throws as `Reveal` does. Any entry must pass here. */
export const requireVisible = (entry: StatusEntry, principal: Principal): StatusEntry => {
  if (!isVisible(entry, principal)) throw notFound()
  if (entry.state === 'expired') {
    throw new ServiceFailure('JOB_EXPIRED', 'The job existed; its record has been removed.', { expiredAt: toIso(entry.expiredAt) })
  }
  if (entry.state === 'invalid') throw new ServiceFailure('INTERNAL', 'The record of this job is damaged; the log has the reason.')
  return entry
}

/** The principal that the authentication hook found; every route that is not public has one. */
export const principalOf = (request: Pick<FastifyRequest, 'principal'>): Principal => {
  if (request.principal === null) throw new ServiceFailure('UNAUTHORIZED', 'Send a valid token.')
  return request.principal
}
