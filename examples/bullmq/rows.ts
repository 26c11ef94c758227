import type { Job } from 'bullmq'
import type { Row } from './table.ts'

/*
 * What a row shows of a job.
 */

export type RowOptions = {
  queue: string
  /** The owner of the rows. Without one, every token with the scope jobs:read may read them. */
  tenant?: string | null
  /** Where the result of a job is, for clients of the service. */
  resultUrl?: (jobId: string, returnValue: unknown) => string | null
}

/** The end of a job. */
export type End = {
  status: 'Succeeded' | 'Failed'
  endedAt: number
  returnValue?: unknown
  reason?: string | undefined
}

// What an id of the service may not hold is written as ~ and the hexadecimal digits of its bytes.
const encode = (text: string): string => encodeURIComponent(text)
  .replace(/[.!'()*~]/g, character => `%${character.charCodeAt(0).toString(16)}`).replaceAll('%', '~')
const decode = (text: string): string => decodeURIComponent(text.replaceAll('~', '%'))

/** A job that no row can show. */
export class NotShowable extends Error {}

/** What the ids of all rows of a queue begin with. */
export const toPrefix = (queue: string): string => `${encode(queue)}.`

/** The id under which the service shows a job: `<queue>.<id>`. */
export const toRowId = (queue: string, jobId: string): string => {
  const id = toPrefix(queue) + encode(jobId)
  if (id.length > 128) throw new NotShowable(`the job ${jobId} of ${queue} cannot be shown: its id is too long`)
  return id
}

/** The id of the job that a row of the queue shows. */
export const toJobId = (queue: string, rowId: string): string => decode(rowId.slice(toPrefix(queue).length))

const statuses: Record<string, Row['status']> = { completed: 'Succeeded', failed: 'Failed', active: 'Running' }

const toTime = (ms: number | undefined): string | null => ms === undefined ? null : new Date(ms).toISOString()

const toPercent = (progress: unknown): number | null => {
  const isObject = typeof progress === 'object' && progress !== null
  const percent = isObject ? (progress as { percent?: unknown }).percent : progress
  return typeof percent === 'number' && Number.isFinite(percent) ? Math.min(100, Math.max(0, percent)) : null
}

const toEnd = ({ resultUrl }: RowOptions, id: string, { status, endedAt, returnValue, reason }: End) => ({
  status,
  endTime: toTime(endedAt),
  resultUrl: status === 'Succeeded' ? resultUrl?.(id, returnValue) ?? null : null,
  errorDetails: status === 'Succeeded' ? null : JSON.stringify({ code: 'FAILED', message: reason ?? '' })
})

/** The row of a job that BullMQ has removed when it ended. */
export const toEndedRow = (options: RowOptions, id: string, name: string | null, end: End): Row => ({
  jobId: toRowId(options.queue, id),
  type: name,
  tenant: options.tenant ?? null,
  createdAt: null,
  startTime: null,
  progressPercent: null,
  ...toEnd(options, id, end)
})

/** The row of a job that BullMQ has, in this state of it. */
export const toRow = (options: RowOptions, id: string, job: Job, state: string): Row => {
  const status = statuses[state] ?? 'Queued'
  const { timestamp, processedOn, finishedOn, failedReason, returnvalue, progress } = job
  const row = {
    jobId: toRowId(options.queue, id),
    type: job.name,
    tenant: options.tenant ?? null,
    createdAt: toTime(timestamp),
    startTime: toTime(processedOn),
    progressPercent: status === 'Running' ? toPercent(progress) : null
  }
  if (status === 'Queued' || status === 'Running') {
    return { ...row, status, endTime: null, resultUrl: null, errorDetails: null }
  }
  const end = { status, endedAt: finishedOn ?? Date.now(), returnValue: returnvalue as unknown, reason: failedReason }
  return { ...row, ...toEnd(options, id, end) }
}
