import { setImmediate as nextTurn } from 'node:timers/promises'
import { LRUCache } from 'lru-cache'
import { ServiceFailure } from '../../errors.ts'
import type { StatusEntry } from '../../job/status-entry.ts'
import type { ChangeLog, Cursor } from '../../store/change-log.ts'
import type { Invalidate } from '../expose.ts'
import type { ReadStatus } from '../read-status.ts'
import { type ChangedJob, type FeedItem, type ResolvedJob, toChangedJobs, toItems } from './feed-items.ts'

/*
 * Pages of the change log with their jobs as they are now, read once for all readers that come to the same place.
 *
 * A reader may be given a page that was read for another one only if that reading began after the reader's own request
 * and after its previous page was read. Else it could get a job older than what was revealed before it asked (G1), or
 * older than in its own previous page. Readers at the end of the log have read the same page before, so all of them can
 * share the next one. A counter of the process orders these beginnings and ends.
 */

/** `examined`: how many changes it has. `isLast`: there were no more. `began` and `ended`: the counts of its reading. */
export type FeedPage = {
  itemsOf: (tenant: string | null) => readonly FeedItem[]
  examined: number
  /** The place after the page. */
  cursor: Cursor
  isLast: boolean
  began: number
  ended: number
}

export type FeedPagesNeeds = {
  changes: Pick<ChangeLog, 'follow'>
  readStatus: ReadStatus
  invalidate: Invalidate
}

export type FeedPages = {
  /** Counts on: what begins later has a higher count. */
  count: () => number
  /**
   * The page after a place in the log, whose reading began after `since`. Throws CursorMalformed, CURSOR_EXPIRED where
   * changes after the place were pruned, and STORE_UNAVAILABLE.
   */
  read: (after: Cursor, since: number) => Promise<FeedPage>
}

const changesAtOnceMax = 200
// The event loop gets a turn between them: another program may have written records that take milliseconds to read.
const resolvedAtOnce = 20
// Of the entries of the pages that are kept, in characters; a larger page is not kept.
const keptLengthMax = 8 * 1024 * 1024
const pageLengthMin = 1000

const cursorExpired = () => new ServiceFailure('CURSOR_EXPIRED',
  'Changes after this cursor are no longer kept. List the jobs again, and go on from the Changes-Cursor of that list.')

const lengthOf = ({ v1Body, taskBody }: StatusEntry): number => v1Body.length + taskBody.length

const createResolve = ({ readStatus, invalidate }: FeedPagesNeeds) => {
  const resolveJob = async (job: ChangedJob): Promise<ResolvedJob> => {
    const { jobId, version } = job
    const entry = await readStatus(jobId, version)
    if (entry.state !== 'absent') return { ...job, entry }
    // A cell may say so from before the job was made, and a floor counts for nothing there.
    await invalidate(jobId, version)
    return { ...job, entry: await readStatus(jobId, version) }
  }
  return async (jobs: readonly ChangedJob[]): Promise<ResolvedJob[]> => {
    const resolved: ResolvedJob[] = []
    for (let at = 0; at < jobs.length; at += resolvedAtOnce) {
      if (at > 0) await nextTurn()
      resolved.push(...await Promise.all(jobs.slice(at, at + resolvedAtOnce).map(resolveJob)))
    }
    return resolved
  }
}

export const createFeedPages = (needs: FeedPagesNeeds): FeedPages => {
  const resolve = createResolve(needs)
  const reading = new Map<Cursor, { began: number, page: Promise<FeedPage> }>()
  const recent = new LRUCache<Cursor, FeedPage>({ maxSize: keptLengthMax })
  let counted = 0
  const count = () => ++counted

  const toPage = async (after: Cursor, began: number): Promise<FeedPage> => {
    const follower = await needs.changes.follow(after)
    const { changes, isGap, isLast } = await follower.next(changesAtOnceMax)
    if (isGap) throw cursorExpired()
    follower.accept()
    const jobs = await resolve(toChangedJobs(changes))
    const ofReaders = new Map<string | null, readonly FeedItem[]>()
    const itemsOf = (tenant: string | null) => {
      const items = ofReaders.get(tenant) ?? toItems(jobs, changes, tenant)
      ofReaders.set(tenant, items)
      return items
    }
    const page = { itemsOf, examined: changes.length, cursor: follower.cursor(), isLast, began, ended: count() }
    recent.set(after, page, { size: jobs.reduce((sum, { entry }) => sum + lengthOf(entry), pageLengthMin) })
    return page
  }

  return {
    count,
    read: async (after, since) => {
      const known = reading.get(after) ?? recent.get(after)
      if (known !== undefined && known.began > since) return await ('page' in known ? known.page : known)
      const began = count()
      const page = toPage(after, began)
      reading.set(after, { began, page })
      try {
        return await page
      } finally {
        if (reading.get(after)?.page === page) reading.delete(after)
      }
    }
  }
}
