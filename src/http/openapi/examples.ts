import { jobCancelled } from '../../job/lifecycle.ts'

/*
 * Examples for the OpenAPI document: one for each state of a job, in both views.
 */

/** The id of the job in all examples. */
export const exampleJobId = '3f8f9a52-7a1c-4d0e-9b7e-0c2f3a1d5e66'
/** The id of its callback. */
export const exampleCallbackId = 'cb_0b1d7c0e-52a4-4c0f-8a4e-7e0b6f6f9c11'
/** The token of its lease. */
export const exampleLeaseToken = 'n0Jv2m5pVbWQh1xZ'
/** What the absolute URLs in examples begin with. */
export const exampleOrigin = 'https://jobs.example.org'

const jobId = exampleJobId
const resultUrl = `/api/v1/jobs/${jobId}/result`
const createdAt = '2026-03-01T09:00:00.000Z'
const startedAt = '2026-03-01T09:00:00.120Z'
const finishedAt = '2026-03-01T09:00:02.480Z'
const failure = { code: 'INVALID_JSON', message: 'The content is not valid JSON.' }

const finishedTimes = { startTime: startedAt, endTime: finishedAt }
const v1 = { jobId, endTime: null, resultUrl: null, errorDetails: null }

/** Examples of the v1 view. */
export const jobStatusExamples = {
  queued: { summary: 'Queued', value: { ...v1, status: 'Queued', startTime: createdAt } },
  running: { summary: 'Running', value: { ...v1, status: 'Running', startTime: startedAt } },
  succeeded: { summary: 'Succeeded', value: { ...v1, ...finishedTimes, status: 'Succeeded', resultUrl } },
  failed: { summary: 'Failed', value: { ...v1, ...finishedTimes, status: 'Failed', errorDetails: failure } },
  cancelled: { summary: 'Cancelled', value: { ...v1, ...finishedTimes, status: 'Failed', errorDetails: jobCancelled } }
}

const noProgress = { percent: 0, done: null, total: null, stage: null, message: null, etaSeconds: null }

const task = {
  taskId: jobId,
  type: 'report',
  status: 'queued',
  isTerminal: false,
  isSuccess: false,
  progress: noProgress,
  attempt: 0,
  cancelRequested: false,
  createdAt,
  startedAt: null,
  finishedAt: null,
  expiresAt: null,
  expiredAt: null,
  resultAvailable: false,
  partialResultAvailable: false,
  resultUrl: null,
  failure: null,
  version: 41,
  pollAfterMs: 1000,
  result: null
}

const running = {
  ...task,
  status: 'running',
  attempt: 1,
  startedAt,
  version: 42,
  progress: { ...noProgress, percent: 40, done: 4000, total: 10000, stage: 'reading' }
}

const ended = { ...running, isTerminal: true, finishedAt, pollAfterMs: null, version: 43 }

const envelope = (summary: string, data: object) => ({ summary, value: { success: true, data } })

/** Examples of the task view. */
export const taskStatusExamples = {
  queued: envelope('Queued', task),
  running: envelope('Running', running),
  succeeded: envelope('Succeeded', {
    ...ended,
    status: 'succeeded',
    isSuccess: true,
    progress: { ...running.progress, percent: 100, done: 10000 },
    expiresAt: '2026-03-02T09:00:02.480Z',
    resultAvailable: true,
    resultUrl: `/api/jobs/${jobId}/result`
  }),
  failed: envelope('Failed', { ...ended, status: 'failed', failure }),
  cancelled: envelope('Cancelled', { ...ended, status: 'cancelled', cancelRequested: true, failure: jobCancelled })
}
