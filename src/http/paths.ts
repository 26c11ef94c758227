import type { StatusEntry } from '../job/status-entry.ts'

/** The API shows each job in two views, under two prefixes: `/api/v1/jobs` and, in an envelope, `/api/jobs`. */
export type ViewName = 'v1' | 'task'

const prefixes = { v1: '/api/v1/jobs', task: '/api/jobs' } as const

/** The path of a job's status. */
export const statusPath = (view: ViewName, jobId: string): string =>
  view === 'v1' ? `${prefixes.v1}/${jobId}` : `${prefixes.task}/${jobId}/status`

/** The path of a job's result. */
export const resultPath = (view: ViewName, jobId: string): string => `${prefixes[view]}/${jobId}/result`

/** The path that cancels a job. */
export const cancelPath = (view: ViewName, jobId: string): string => `${prefixes[view]}/${jobId}/cancel`

/** The path of a job's events. */
const eventsPath = (view: ViewName, jobId: string): string => `${prefixes[view]}/${jobId}/events`

/**
 * The `Link` header of a job (RFC 8288): its status and, where they exist, its result, its cancellation and its events.
 */
export const toLink = (base: string, view: ViewName, { jobId, hasResult, canCancel, pollAfterMs }: StatusEntry): string => {
  const links = [`<${base}${statusPath(view, jobId)}>; rel="status"`]
  if (hasResult) links.push(`<${base}${resultPath(view, jobId)}>; rel="result"`)
  if (canCancel) links.push(`<${base}${cancelPath(view, jobId)}>; rel="cancel"`)
  if (pollAfterMs > 0) links.push(`<${base}${eventsPath(view, jobId)}>; rel="events"`)
  return links.join(', ')
}
