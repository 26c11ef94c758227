import fc from 'fast-check'
import type { CancelledJob, FailedJob, Job, JobLookup, QueuedJob, RunningJob, SucceededJob } from '../../src/job/job.ts'
import { jobCancelled } from '../../src/job/lifecycle.ts'
import { noProgress } from '../../src/job/progress.ts'
import type { ListFilter } from '../../src/store/store.ts'

/** The filter that restricts nothing. */
export const allJobs: ListFilter =
  { tenant: null, states: null, type: null, createdAfter: null, createdBefore: null, idPrefix: null }

const at = Date.UTC(2026, 0, 31, 12)

const common = {
  version: 0,
  tenant: 'acme',
  submittedBy: 'alice',
  type: 'report',
  createdAt: at,
  startedAt: null,
  attempt: 0,
  progress: noProgress
}

export const queuedJob = (jobId: string, more: Partial<QueuedJob> = {}): QueuedJob =>
  ({ ...common, jobId, state: 'queued', ...more })

export const runningJob = (jobId: string, more: Partial<RunningJob> = {}): RunningJob => ({
  ...common,
  jobId,
  state: 'running',
  startedAt: at + 1000,
  attempt: 1,
  progress: { percent: 40, done: 4, total: 10, stage: 'reading', message: 'row 4', etaSeconds: 6 },
  cancelRequestedAt: null,
  hasPartialResult: false,
  ...more
})

export const succeededJob = (jobId: string, more: Partial<SucceededJob> = {}): SucceededJob => ({
  ...common,
  jobId,
  state: 'succeeded',
  startedAt: at + 1000,
  attempt: 1,
  progress: { ...noProgress, percent: 100 },
  finishedAt: at + 2000,
  resultUrl: `/api/v1/jobs/${jobId}/result`,
  result: null,
  expiresAt: null,
  resultExpiredAt: null,
  ...more
})

export const failedJob = (jobId: string, more: Partial<FailedJob> = {}): FailedJob => ({
  ...common,
  jobId,
  state: 'failed',
  startedAt: at + 1000,
  attempt: 3,
  finishedAt: at + 2000,
  failure: { code: 'E_DISK', message: 'disk full', detailsJson: '{"free":0}' },
  ...more
})

export const cancelledJob = (jobId: string, more: Partial<CancelledJob> = {}): CancelledJob => ({
  ...common,
  jobId,
  state: 'cancelled',
  startedAt: at + 1000,
  attempt: 1,
  finishedAt: at + 2000,
  cancelledAt: at + 2000,
  failure: jobCancelled,
  ...more
})

export const inEachState: ReadonlyArray<(jobId: string) => Job> = [
  queuedJob, runningJob, succeededJob, failedJob, cancelledJob
]

/** The job of a lookup that is one; throws for any other. */
export const jobOf = (lookup: JobLookup): Job => {
  if (lookup.kind !== 'job') throw new Error(`${lookup.kind}, not a job`)
  return lookup.job
}

/** Whose lookup it is. */
export const idOf = (lookup: JobLookup): string => {
  switch (lookup.kind) {
    case 'job': return lookup.job.jobId
    case 'tombstone': return lookup.tombstone.jobId
    case 'invalid': case 'absent': return lookup.jobId
  }
}

const text = fc.string({ unit: 'grapheme', maxLength: 40 })
// An empty text is null in a record.
const textOrNull = fc.option(fc.string({ unit: 'grapheme', minLength: 1, maxLength: 40 }))
const time = fc.integer({ min: Date.parse('0000-01-01T00:00:00Z'), max: Date.parse('9999-12-31T23:59:59.999Z') })
const timeOrNull = fc.option(time)
const quantity = fc.option(fc.double({ noNaN: true, noDefaultInfinity: true }).map(value => value + 0))

// Jobs are plain objects, and so are the ones that are found.
const record = <Model>(model: { [Key in keyof Model]: fc.Arbitrary<Model[Key]> }) => fc.record(model, {
  noNullPrototype: true
})

const progress = record({
  percent: fc.double({ min: 0, max: 100, noNaN: true }).map(value => value + 0),
  done: quantity,
  total: quantity,
  stage: textOrNull,
  message: textOrNull,
  etaSeconds: fc.option(fc.nat())
})

const anyCommon = {
  jobId: fc.uuid(),
  version: fc.constant(0),
  tenant: textOrNull,
  submittedBy: textOrNull,
  type: textOrNull,
  createdAt: time,
  startedAt: timeOrNull,
  attempt: fc.nat()
}

const failure = fc.record({
  code: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 40 }),
  message: text,
  detailsJson: fc.jsonValue().map(value => JSON.stringify(value))
}, { requiredKeys: ['code', 'message'], noNullPrototype: true })

/** Any job as the record can hold it: a queued one has no progress, a succeeded one is whole. */
export const anyJob: fc.Arbitrary<Job> = fc.oneof(
  record({ ...anyCommon, state: fc.constant('queued' as const), progress: fc.constant(noProgress) }),
  record({
    ...anyCommon,
    state: fc.constant(
      'running' as const
    ),
    progress,
    cancelRequestedAt: timeOrNull,
    hasPartialResult: fc.boolean()
  }),
  record({
    ...anyCommon,
    state: fc.constant('succeeded' as const),
    progress: progress.map(value => ({ ...value, percent: 100, etaSeconds: null })),
    finishedAt: timeOrNull,
    resultUrl: textOrNull,
    result: fc.constant(null),
    expiresAt: timeOrNull,
    resultExpiredAt: timeOrNull
  }),
  record({ ...anyCommon, state: fc.constant('failed' as const), progress, finishedAt: timeOrNull, failure }),
  record({
    ...anyCommon, state: fc.constant('cancelled' as const), progress, finishedAt: time, cancelledAt: time, failure
  })
)
