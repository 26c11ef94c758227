import type { Job, SucceededJob } from '../../src/job/job.ts'
import { jobCancelled, leaseExpired, type JobEvent } from '../../src/job/lifecycle.ts'
import { noProgress } from '../../src/job/progress.ts'
import { cancelledJob, failedJob, queuedJob, runningJob, succeededJob } from '../store/jobs.ts'

/*
 * The whole state machine as one table: what each event makes of a job in each state that events distinguish, or why
 * it cannot happen. The domain and the database are both tested against it.
 */

export const at = Date.UTC(2026, 0, 31, 12, 0, 11)
const askedAt = at - 5000
const failure = { code: 'E_INPUT', message: 'no such table' }
export const facts = { contentType: 'text/csv', fileName: 'r.csv', sizeBytes: 3, sha256: 'x', inlineJson: null }

const stored = { result: facts, expiresAt: at + 86_400_000 }

/** Jobs that events may treat differently. */
export const jobs = {
  queued: queuedJob('j'),
  'queued again': queuedJob('j', { attempt: 1, startedAt: at - 60_000 }),
  running: runningJob('j', { attempt: 2, hasPartialResult: true }),
  'running, last attempt': runningJob('j', { attempt: 3 }),
  'running, asked to stop': runningJob('j', { cancelRequestedAt: askedAt }),
  'running, last attempt, asked to stop': runningJob('j', { attempt: 3, cancelRequestedAt: askedAt }),
  'succeeded, stored': succeededJob('j', stored),
  'succeeded, elsewhere': succeededJob('j', { resultUrl: 'https://x.example/r' }),
  'succeeded, expired': succeededJob('j', { ...stored, result: null, resultExpiredAt: at - 1000 }),
  failed: failedJob('j'),
  cancelled: cancelledJob('j')
} satisfies Record<string, Job>

export const events = {
  claim: { type: 'claim', at },
  progress: { type: 'progress', at, update: { percent: 50, message: 'row 5' } },
  append: { type: 'append' },
  'complete, stored': { type: 'complete', at, resultUrl: '/r', ...stored, message: '3 rows' },
  'complete, elsewhere': { type: 'complete', at, resultUrl: 'https://x.example/r', result: null, expiresAt: null },
  'fail, to be tried again': { type: 'fail', at, failure, retryable: true, maxAttempts: 3 },
  'fail, for good': { type: 'fail', at, failure, retryable: false, maxAttempts: 3 },
  rescue: { type: 'rescue', at, maxAttempts: 3 },
  release: { type: 'release', at },
  cancel: { type: 'cancel', at },
  'cancel-forced': { type: 'cancel-forced', at },
  expire: { type: 'expire', at }
} satisfies Record<string, JobEvent>

export type JobName = keyof typeof jobs
export type EventName = keyof typeof events

/** What every state has, of any job. */
const common = ({ jobId, version, tenant, submittedBy, type, createdAt, startedAt, attempt, progress }: Job) =>
  ({ jobId, version, tenant, submittedBy, type, createdAt, startedAt, attempt, progress })

const running = (job: Job) => ({
  ...common(job),
  state: 'running' as const,
  cancelRequestedAt: job.state === 'running' ? job.cancelRequestedAt : null,
  hasPartialResult: job.state === 'running' && job.hasPartialResult
})

const ended = (job: Job) => ({ ...common(job), finishedAt: at, progress: { ...job.progress, etaSeconds: null } })

const succeeded = (
  job: Job, message: string | null, more: Pick<SucceededJob, 'resultUrl' | 'result' | 'expiresAt'>
): SucceededJob => ({
  ...ended(job),
  state: 'succeeded',
  progress: { ...job.progress, percent: 100, etaSeconds: null, message },
  resultExpiredAt: null,
  ...more
})

/** What a job becomes, exactly, by the names that the table uses. */
export const results = {
  claimed: job => ({
    ...running(job),
    attempt: job.attempt +
    1,
    startedAt: at,
    progress: noProgress,
    cancelRequestedAt: null,
    hasPartialResult: false
  }),
  // 10 s for one half.
  advanced: job => ({ ...running(job), progress: { ...job.progress, percent: 50, message: 'row 5', etaSeconds: 10 } }),
  begun: job => ({ ...running(job), hasPartialResult: true }),
  stored: job => succeeded(job, '3 rows', { resultUrl: '/r', ...stored }),
  elsewhere: job => succeeded(job, job.progress.message, {
    resultUrl: 'https://x.example/r', result: null, expiresAt: null
  }),
  'requeued, 2 s': job => ({ ...common(job), state: 'queued' }),
  'requeued, now': job => ({ ...common(job), state: 'queued', attempt: job.attempt - 1 }),
  failed: job => ({ ...ended(job), state: 'failed', failure }),
  abandoned: job => ({ ...ended(job), state: 'failed', failure: leaseExpired }),
  cancelled: job => ({ ...ended(job), state: 'cancelled', cancelledAt: at, failure: jobCancelled }),
  asked: job => ({ ...running(job), cancelRequestedAt: at }),
  unchanged: job => job,
  expired: job => ({ ...job, result: null, resultExpiredAt: at } as SucceededJob)
} satisfies Record<string, (job: Job) => Job>

export type ResultName = keyof typeof results

/** Milliseconds until the job can be claimed again, for events that queue it with a delay. */
export const delays: Partial<Record<ResultName, number>> = { 'requeued, 2 s': 2000 }

export const rejections = ['not-queued', 'not-running', 'not-asked', 'finished', 'no-result'] as const
export type Rejection = typeof rejections[number]

const notRunning = {
  progress: 'not-running',
  append: 'not-running',
  'complete, stored': 'not-running',
  'complete, elsewhere': 'not-running',
  'fail, to be tried again': 'not-running',
  'fail, for good': 'not-running',
  rescue: 'not-running',
  release: 'not-running',
  'cancel-forced': 'not-running'
} as const

const queued = { ...notRunning, claim: 'claimed', cancel: 'cancelled', expire: 'no-result' } as const
const finished = { ...notRunning, claim: 'not-queued', cancel: 'finished', expire: 'no-result' } as const

const underWay = {
  claim: 'not-queued',
  progress: 'advanced',
  append: 'begun',
  'complete, stored': 'stored',
  'complete, elsewhere': 'elsewhere',
  'fail, to be tried again': 'requeued, 2 s',
  'fail, for good': 'failed',
  rescue: 'requeued, 2 s',
  release: 'requeued, now',
  cancel: 'asked',
  'cancel-forced': 'not-asked',
  expire: 'no-result'
} as const

// A run that was asked to stop may still complete; every other end is a cancellation.
const askedToStop = {
  ...underWay,
  'fail, to be tried again': 'cancelled',
  'fail, for good': 'cancelled',
  rescue: 'cancelled',
  release: 'cancelled',
  cancel: 'unchanged',
  'cancel-forced': 'cancelled'
} as const

export const table: Record<JobName, Record<EventName, ResultName | Rejection>> = {
  queued,
  'queued again': queued,
  running: underWay,
  'running, last attempt': { ...underWay, 'fail, to be tried again': 'failed', rescue: 'abandoned' },
  'running, asked to stop': askedToStop,
  'running, last attempt, asked to stop': askedToStop,
  'succeeded, stored': { ...finished, expire: 'expired' },
  'succeeded, elsewhere': finished,
  'succeeded, expired': finished,
  failed: finished,
  cancelled: finished
}

export type Cell = {
  from: JobName, by: EventName, job: Job, event: JobEvent, outcome: { result: ResultName } | { rejection: Rejection }
}

const isRejection = (outcome: string): outcome is Rejection => (rejections as readonly string[]).includes(outcome)

/** The table, cell by cell. */
export const cells: readonly Cell[] =
  Object.entries(table).flatMap(([from, row]) => Object.entries(row).map(([by, outcome]) => ({
    from: from as JobName,
    by: by as EventName,
    job: jobs[from as JobName],
    event: events[by as EventName],
    outcome: isRejection(outcome) ? { rejection: outcome } : { result: outcome }
  })))
