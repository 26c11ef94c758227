import { ServiceFailure } from '../errors.ts'
import type { StatusEntry } from '../job/status-entry.ts'
import type { JobWatch } from '../status/await-change.ts'
import type { Principal } from './auth/principal.ts'
import { requireJobId } from './job-id.ts'
import type { ViewName } from './paths.ts'
import type { Representation } from './representation.ts'
import { isUnfinished, type StatusAccess } from './status-access.ts'

/** What follows: a newer status, or (null) that the job is gone, or no longer this client's to see. */
export type OnStatus = (next: Representation | null) => void

/** `isKnown`: the client got this version before. `isLast`: nothing follows. */
export type FollowedStatus = { representation: Representation, isKnown: boolean, isLast: boolean, unfollow: () => void }

/**
 * Reads a status and calls back with each newer one. `lastEventId` is what the client got last. Throws what
 * `requireVisible` throws, INVALID_TASK_ID and STORE_UNAVAILABLE.
 */
export type FollowStatus = (
  view: ViewName, id: string, principal: Principal, lastEventId: string | undefined, onStatus: OnStatus
) => Promise<FollowedStatus>

export type FollowStatusNeeds = {
  follow: JobWatch['follow']
  toRepresentation: StatusAccess['toRepresentation']
  incarnation: string
}

/** The id of an event: the version, and the incarnation of the database that drew it. */
export const toEventId = (incarnation: string, { version }: StatusEntry): string => `${incarnation}.${version}`

const eventIdForm = /^([0-9a-z]+)\.(\d{1,15})$/

// An id of another incarnation, or of another form, means nothing here.
const toVersion = (eventId: string | undefined, incarnation: string): number => {
  const [, of, version] = eventIdForm.exec(eventId ?? '') ?? []
  return of === incarnation ? Number(version) : 0
}

const isGone = (error: unknown): boolean =>
  error instanceof ServiceFailure && (error.code === 'JOB_NOT_FOUND' || error.code === 'JOB_EXPIRED')

export const createFollowStatus = (
  { follow, toRepresentation, incarnation }: FollowStatusNeeds
): FollowStatus => async (view, id, principal, lastEventId, onStatus) => {
  requireJobId(view, id)
  const toNext = (entry: StatusEntry): Representation | null | undefined => {
    try {
      return toRepresentation(view, entry, principal)
    } catch (error) {
      // A record that breaks BR-001 is logged where it is read; its followers get the next version.
      return isGone(error) ? null : undefined
    }
  }
  const floor = toVersion(lastEventId, incarnation)
  const { entry, unfollow } = await follow(id, floor, newer => {
    const next = toNext(newer)
    if (next !== undefined) onStatus(next)
  })
  try {
    const representation = toRepresentation(view, entry, principal)
    return { representation, isKnown: entry.version <= floor, isLast: !isUnfinished(entry), unfollow }
  } catch (error) {
    unfollow()
    throw error
  }
}
