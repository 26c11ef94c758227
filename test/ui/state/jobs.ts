import type { Job } from '../../../src/ui/state/job.ts'

/** A job as the task view shows it. */
export const makeJob = (fields: Partial<Job> = {}): Job => ({
  taskId: 'job-1',
  type: 'report',
  status: 'queued',
  isTerminal: false,
  isSuccess: false,
  progress: { percent: 0, done: null, total: null, stage: null, message: null, etaSeconds: null },
  attempt: 0,
  cancelRequested: false,
  createdAt: '2026-03-01T09:00:00.000Z',
  startedAt: null,
  finishedAt: null,
  expiresAt: null,
  expiredAt: null,
  resultAvailable: false,
  partialResultAvailable: false,
  resultUrl: null,
  failure: null,
  version: 1,
  pollAfterMs: 1000,
  ...fields
})
