import type { StatusEntry } from '../../job/status-entry.ts'
import type { Change, Cursor } from '../../store/change-log.ts'

/*
 * What of a page of changes concerns a reader. The changes of one job are conflated: the page has the job as it is now,
 * once, at the place of its last change.
 */

/** A job that the reader may read now, or (`entry` null) could read until these changes. `cursor` is the place after it. */
export type FeedItem = { cursor: Cursor, jobId: string, version: number, entry: StatusEntry | null }

/**
 * A job that changed in a page. Indexes are those of changes in the page: `last` is its last change, and the others are
 * the last changes before or after which all principals, or those of a tenant, could read it; -1: none.
 */
export type ChangedJob = {
  jobId: string, version: number, last: number, ofEveryone: number, ofTenants: ReadonlyMap<string, number>
}

/** Groups changes by their jobs. `version` is that of the last change. */
export const toChangedJobs = (changes: readonly Change[]): ChangedJob[] => {
  const jobs = new Map<string, Omit<ChangedJob, 'ofTenants'> & { ofTenants: Map<string, number> }>()
  for (const [index, { jobId, version, readersBefore, readersAfter }] of changes.entries()) {
    const job = jobs.get(jobId) ?? { jobId, version, last: index, ofEveryone: -1, ofTenants: new Map<string, number>() }
    job.version = Math.max(job.version, version)
    job.last = index
    for (const readers of [readersBefore, readersAfter]) {
      if (readers === 'everyone') job.ofEveryone = index
      else if (readers !== null) job.ofTenants.set(readers.tenant, index)
    }
    jobs.set(jobId, job)
  }
  return [...jobs.values()]
}

/** A job that changed, and what there is of it now. */
export type ResolvedJob = ChangedJob & { entry: StatusEntry }

const couldRead = ({ ofEveryone, ofTenants }: ChangedJob, tenant: string | null): number =>
  Math.max(ofEveryone, ...tenant === null ? ofTenants.values() : [ofTenants.get(tenant) ?? -1])

// Whether the reader may read the record, or its tombstone.
const mayRead = ({ state, tenant: owner }: StatusEntry, tenant: string | null): boolean =>
  state !== 'absent' && (owner === null || tenant === null || owner === tenant)

/*
 * A job that is gone stands where the reader could read it last: at a later change, a reader that resumes between the
 * two would not find it again.
 */
const toItem = (job: ResolvedJob, tenant: string | null) => {
  const { jobId, entry } = job
  const version = Math.max(job.version, entry.version)
  const isReadable = mayRead(entry, tenant)
  if (isReadable && entry.state === 'invalid') return null
  if (isReadable && entry.state !== 'expired') return { index: job.last, item: { jobId, version, entry } }
  const index = isReadable ? job.last : couldRead(job, tenant)
  return index === -1 ? null : { index, item: { jobId, version, entry: null } }
}

/**
 * The items of a reader, in the order of their changes; tenant null: a reader of all tenants. A record that breaks
 * BR-001 is left out.
 */
export const toItems = (
  jobs: readonly ResolvedJob[], changes: readonly Change[], tenant: string | null
): FeedItem[] => jobs
  .flatMap(job => toItem(job, tenant) ?? [])
  .sort((a, b) => a.index - b.index)
  .map(({ index, item }) => ({ cursor: changes[index]?.cursor ?? '', ...item }))
