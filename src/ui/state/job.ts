import type { Task } from '../../client/client.ts'

/** The states of a job, in the words of the task view. */
export const states = ['queued', 'running', 'succeeded', 'failed', 'cancelled'] as const satisfies ReadonlyArray<Task['status']>
export type State = typeof states[number]

/** A job as the task view shows it: what the page reads of it. */
export type Job = Omit<Task, 'result'>

/** A change of the feed; `job` null: it is gone, or is no longer for this token. */
export type Change = { jobId: string, version: number, job: Job | null }

/** The path of a job in the API. */
export const toJobPath = (jobId: string): string => `/api/v1/jobs/${encodeURIComponent(jobId)}`
