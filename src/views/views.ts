import { crc32 } from 'node:zlib'
import { createCheck } from '../schema-check.ts'
import type { StatusEntry } from '../job/status-entry.ts'
import {
  isTerminal, isWebUrl, type Job, type JobLookup, type SucceededJob, toFailureJson, toRecordStatus
} from '../job/job.ts'
import type { UnreadValue } from '../job/recorded/values.ts'
import { pollAfterMs } from '../job/pacing.ts'
import { toIso, toIsoOrNull } from '../job/time.ts'
import { JobStatus, TaskData } from './schemas.ts'

// To be raised when the bytes of a view change for the same record, so that no client keeps the old ones by their ETag.
const viewRevision = 4

// A view that would break its schema is not sent (BR-001): the message names fields and rules, never a value.
class ViewInvalid extends Error {
  constructor (jobId: string, rules: string) {
    super(`the view of job ${jobId} breaks its schema: ${rules}`)
    this.name = 'ViewInvalid'
  }
}

const jobStatusCheck = createCheck(JobStatus)
const taskDataCheck = createCheck(TaskData)

// `texts` are members that hold what a worker wrote, as JSON text: parsing it here would round its numbers.
const serialize = (
  check: ReturnType<typeof createCheck>, view: JobStatus | TaskData, jobId: string, texts: Record<string, string>
): string => {
  const violations = check(view)
  if (violations.length > 0) {
    throw new ViewInvalid(jobId, violations.map(({ instancePath, keyword }) => `${instancePath} ${keyword}`).join('; '))
  }
  let members = ''
  for (const [name, text] of Object.entries(texts)) {
    members += `,"${name}":${text}`
    Reflect.set(view, name, undefined)
  }
  return `${JSON.stringify(view).slice(0, -1)}${members}}`
}

const hasResult = (job: Job): boolean =>
  job.state === 'succeeded' && job.resultExpiredAt === null && (job.result !== null || isWebUrl(job.resultUrl))

const finishedAtOf = (job: Job): string | null => isTerminal(job) ? toIsoOrNull(job.finishedAt) : null

// Without its details, which any JSON may be.
const failureOf = (job: Job): JobStatus['errorDetails'] => {
  if (!('failure' in job)) return null
  const { code, message } = job.failure
  return { code, message }
}

/** Both views of a job as one entry with ready-made bodies. */
export type Views = {
  /** A record that breaks BR-001 gives an entry of state `invalid`, without bodies. */
  toEntry: (lookup: JobLookup) => StatusEntry
  /** Differs wherever the same record has other bodies; part of the ETag and of the cache's entries. */
  representation: number
}

export type ViewsNeeds = {
  /** Prefix of the URLs in the bodies, without a slash at its end; null: they stay relative. */
  publicUrl: string | null
  /** Called for every record that breaks BR-001. */
  onInvalid: (jobId: string, error: Error | null) => void
  /** Called for every value of a record that was not understood; null is shown in its place. */
  onUnread?: (jobId: string, value: UnreadValue) => void
}

const unseen = {
  state: 'absent',
  percent: 0,
  pollAfterMs: 0,
  expiredAt: 0,
  hasResult: false,
  canCancel: false,
  v1Body: '',
  taskBody: ''
} as const

type Projections = { toJobStatus: (job: Job) => JobStatus, toTaskData: (job: Job) => TaskData }

const createProjections = (publicUrl: string | null): Projections => {
  const toUrl = (url: string | null): string | null =>
    url !== null && publicUrl !== null && url.startsWith('/') ? publicUrl + url : url

  // A stored result has a URL under both prefixes; each view names the one under its own.
  const toTaskResultUrl = ({ jobId, resultUrl }: SucceededJob): string | null =>
    toUrl(resultUrl === `/api/v1/jobs/${jobId}/result` ? `/api/jobs/${jobId}/result` : resultUrl)

  return {
    toJobStatus: job => ({
      jobId: job.jobId,
      status: toRecordStatus(job.state),
      startTime: toIso(job.startedAt ?? job.createdAt),
      endTime: finishedAtOf(job),
      resultUrl: job.state === 'succeeded' ? toUrl(job.resultUrl) : null,
      errorDetails: failureOf(job)
    }),
    toTaskData: job => ({
      taskId: job.jobId,
      type: job.type,
      status: job.state,
      isTerminal: isTerminal(job),
      isSuccess: job.state === 'succeeded',
      progress: job.progress,
      attempt: job.attempt,
      cancelRequested: job.state === 'cancelled' || (job.state === 'running' && job.cancelRequestedAt !== null),
      createdAt: toIso(job.createdAt),
      startedAt: toIsoOrNull(job.startedAt),
      finishedAt: finishedAtOf(job),
      expiresAt: job.state === 'succeeded' ? toIsoOrNull(job.expiresAt) : null,
      expiredAt: job.state === 'succeeded' ? toIsoOrNull(job.resultExpiredAt) : null,
      resultAvailable: hasResult(job),
      partialResultAvailable: job.state === 'running' && job.hasPartialResult,
      resultUrl: job.state === 'succeeded' ? toTaskResultUrl(job) : null,
      failure: failureOf(job),
      version: job.version,
      pollAfterMs: pollAfterMs(job),
      result: null
    })
  }
}

export const createViews = ({ publicUrl, onInvalid, onUnread = () => {} }: ViewsNeeds): Views => {
  const projections = createProjections(publicUrl)

  const toBodies = (job: Job): Pick<StatusEntry, 'v1Body' | 'taskBody'> => {
    const failure = 'failure' in job ? toFailureJson(job.failure) : 'null'
    const result = (job.state === 'succeeded' ? job.result?.inlineJson : null) ?? 'null'
    const data = serialize(taskDataCheck, projections.toTaskData(job), job.jobId, { failure, result })
    return {
      v1Body: serialize(jobStatusCheck, projections.toJobStatus(job), job.jobId, { errorDetails: failure }),
      taskBody: `{"success":true,"data":${data}}`
    }
  }

  const jobEntry = (job: Job): StatusEntry => ({
    jobId: job.jobId,
    version: job.version,
    tenant: job.tenant,
    state: job.state,
    percent: Math.floor(job.progress.percent),
    pollAfterMs: pollAfterMs(job) ?? 0,
    expiredAt: 0,
    hasResult: !isTerminal(job) || hasResult(job),
    canCancel: !isTerminal(job) && job.submittedBy !== null,
    ...toBodies(job)
  })

  const invalidEntry = (jobId: string, version: number, tenant: string | null, error: Error | null): StatusEntry => {
    onInvalid(jobId, error)
    return { ...unseen, jobId, version, tenant, state: 'invalid' }
  }

  const checkedEntry = (job: Job): StatusEntry => {
    try {
      return jobEntry(job)
    } catch (error) {
      if (!(error instanceof ViewInvalid)) throw error
      return invalidEntry(job.jobId, job.version, job.tenant, error)
    }
  }

  const toEntry = (lookup: JobLookup): StatusEntry => {
    switch (lookup.kind) {
      case 'job':
        for (const value of lookup.unread ?? []) onUnread(lookup.job.jobId, value)
        return checkedEntry(lookup.job)
      case 'tombstone': return { ...unseen, ...lookup.tombstone, state: 'expired' }
      case 'invalid': return invalidEntry(lookup.jobId, lookup.version, lookup.tenant, null)
      case 'absent': return { ...unseen, jobId: lookup.jobId, version: 0, tenant: null }
    }
  }

  return { toEntry, representation: publicUrl === null ? viewRevision : crc32(`${viewRevision} ${publicUrl}`) }
}
