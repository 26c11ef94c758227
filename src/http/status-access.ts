import { ServiceFailure } from '../errors.ts'
import { type JobState, toRecordStatus } from '../job/job.ts'
import type { StatusEntry } from '../job/status-entry.ts'
import { toIso } from '../job/time.ts'
import type { IsAwaited, JobWatch } from '../status/await-change.ts'
import type { ReadStatus } from '../status/read-status.ts'
import { maySee, type Principal } from './auth/principal.ts'
import {
  allowsChange, hasTags, type IfNoneMatch, matches, parseIfNoneMatch, type Preconditions, toETag, toFloor
} from './headers/conditional.ts'
import { jobNotFound, requireJobId } from './job-id.ts'
import type { ViewName } from './paths.ts'
import { createRepresent, type Representation, type RepresentationNeeds } from './representation.ts'

/** Whether the principal may know that the job exists, or existed. */
export const isVisible = (entry: StatusEntry, principal: Principal): boolean =>
  entry.state !== 'absent' && maySee(principal, entry.tenant)

/**
 * Returns the entry if the principal may see it and it has a status. Throws JOB_NOT_FOUND, JOB_EXPIRED, and INTERNAL
 * for a record that breaks BR-001. Every entry passes this check before any part of it is sent, the tenant first.
 */
export const requireVisible = (entry: StatusEntry, principal: Principal): StatusEntry => {
  if (!isVisible(entry, principal)) throw jobNotFound
  if (entry.state === 'expired') {
    const expiredAt = toIso(entry.expiredAt)
    throw new ServiceFailure('JOB_EXPIRED', 'The record of this job has been removed.', { expiredAt })
  }
  if (entry.state === 'invalid') {
    throw new ServiceFailure('INTERNAL', 'The record of this job is damaged; see the log for the reason.')
  }
  return entry
}

/** A status that the client may see, and the condition under which it wants the body. */
export type VisibleStatus = { representation: Representation, condition: IfNoneMatch | undefined }

/** `isEnough` ends a wait before the end of the job; `ended` resolves if it has to end without either. */
export type VisibleWait = { ended: Promise<unknown>, isEnough?: IsAwaited }

/** The status of jobs, for clients that may see them. What throws, throws what `requireVisible` throws. */
export type StatusAccess = {
  /** Also throws INVALID_TASK_ID and STORE_UNAVAILABLE. Returns without a promise if the entry is in memory. */
  readVisible: (
    view: ViewName, id: string, principal: Principal, ifNoneMatch: string | undefined
  ) => VisibleStatus | Promise<VisibleStatus>
  /**
   * The same as soon as the job has ended or is gone, or, where the client names tags, as soon as its tag is none of
   * them; null once `ended` has resolved before.
   */
  awaitVisible: (
    view: ViewName, id: string, principal: Principal, ifNoneMatch: string | undefined, wait: VisibleWait
  ) => Promise<VisibleStatus | null>
  /**
   * Returns the newest entry of this job once it has ended or is gone, or `ended` has resolved before. What was
   * accepted already is answered in any case: if the job cannot be read, this is the newest entry at hand.
   */
  awaitEnd: (entry: StatusEntry, principal: Principal, ended: Promise<unknown>) => Promise<StatusEntry>
  /** Of an entry that has been read and exposed. */
  toRepresentation: (view: ViewName, entry: StatusEntry, principal: Principal) => Representation
  /** Whether the preconditions of a request allow a change of a job that has this version. */
  toIsExpected: (headers: Preconditions) => (version: number) => boolean
}

export type StatusAccessNeeds = RepresentationNeeds & { readStatus: ReadStatus, awaitEntry: JobWatch['awaitEntry'] }

/** Whether the job still runs or is to run, so that waiting for its end makes sense. */
export const isUnfinished = ({ state }: StatusEntry): boolean => state === 'queued' || state === 'running'

/** What a failure says of the job that it is about. The entry has passed `requireVisible`. */
export const toStatusFact = ({ state }: StatusEntry) => ({ jobStatus: toRecordStatus(state as JobState) })

export const createStatusAccess = (
  { readStatus, awaitEntry, ...representationNeeds }: StatusAccessNeeds
): StatusAccess => {
  const { incarnation, representation: format } = representationNeeds
  const represent = createRepresent(representationNeeds)
  const toRepresentation = (view: ViewName, entry: StatusEntry, principal: Principal): Representation =>
    represent(view, requireVisible(entry, principal))

  return {
    toRepresentation,
    toIsExpected: headers => version => allowsChange(headers, toETag(incarnation, version, format)),
    readVisible: (view, id, principal, ifNoneMatch) => {
      requireJobId(view, id)
      const condition = parseIfNoneMatch(ifNoneMatch)
      const found = readStatus(id, toFloor(condition, incarnation))
      if (!(found instanceof Promise)) return { representation: toRepresentation(view, found, principal), condition }
      return found.then(entry => ({ representation: toRepresentation(view, entry, principal), condition }))
    },
    awaitVisible: async (view, id, principal, ifNoneMatch, { ended, isEnough = () => false }) => {
      requireJobId(view, id)
      const condition = parseIfNoneMatch(ifNoneMatch)
      const isAwaited = (entry: StatusEntry): boolean =>
        !isUnfinished(entry) || !isVisible(entry, principal) || isEnough(entry) ||
        (hasTags(condition) && !matches(condition, toETag(incarnation, entry.version, format)))
      const entry = await awaitEntry(id, toFloor(condition, incarnation), isAwaited, ended)
      return entry === null ? null : { representation: toRepresentation(view, entry, principal), condition }
    },
    awaitEnd: async (accepted, principal, ended) => {
      let newest = accepted
      const isEnd = (entry: StatusEntry): boolean => {
        if (entry.version > newest.version) newest = entry
        return !isUnfinished(entry) || !isVisible(entry, principal)
      }
      if (isEnd(accepted)) return accepted
      const { jobId } = accepted
      try {
        const awaited = await awaitEntry(jobId, accepted.version, isEnd, ended)
        return awaited ?? await readStatus(jobId, newest.version)
      } catch (error) {
        if (error instanceof ServiceFailure && error.code === 'STORE_UNAVAILABLE') return newest
        throw error
      }
    }
  }
}
