import { createHash } from 'node:crypto'
import { stringify } from 'safe-stable-stringify'
import { ServiceFailure } from '../errors.ts'
import type { Job, JobLookup } from '../job/job.ts'
import { noProgress } from '../job/progress.ts'
import type { Expose } from '../status/expose.ts'
import { findIdempotencyKey, saveIdempotencyKey } from '../store/idempotency.ts'
import { findJob, insertJob } from '../store/job-store.ts'
import { enqueue, insertInput } from '../store/queue.ts'
import type { Transact, Write } from '../store/transact.ts'

export const idempotencyKeyKeptMs = 24 * 3600 * 1000

/** On whose behalf a job runs, and whose rows it may read. */
export type Submitter = { subject: string, tenant: string, allTenants: boolean }

/** What is to be done. `input` is any JSON value. */
export type Submission = {
  type: string
  input: unknown
  maxAttempts?: number
  timeoutSeconds?: number
}

/** The job as it is now; `replayed`: an earlier submission under the same key made it. */
export type Submitted = { jobId: string, entry: Awaited<ReturnType<Expose>>, replayed: boolean }

export type SubmitJob = (submitter: Submitter, submission: Submission, idempotencyKey: string | null) => Promise<Submitted>

export type SubmitJobNeeds = {
  transact: Transact
  expose: Expose
  randomUuid: () => string
  /** ms since 1970. */
  now: () => number
  /** Told after the commit, so that a worker need not wait for its next look. */
  onQueued: () => void
}

const maxAttemptsDefault = 3

// Two requests mean the same when their canonical JSON is the same. Not quite that of RFC 8785, which refuses half a
// surrogate pair: a text to be sanitized may well have one.
// A request that may read every tenant's rows is not the same as one that may not.
const hashOf = (submission: Submission, { allTenants }: Submitter): string =>
  createHash('sha256').update(stringify({ ...submission, allTenants }) ?? '').digest('base64url')

const toQueuedJob = (jobId: string, submitter: Submitter, type: string, at: number): Job => ({
  jobId,
  version: 0,
  tenant: submitter.tenant,
  submittedBy: submitter.subject,
  type,
  createdAt: at,
  startedAt: null,
  attempt: 0,
  progress: noProgress,
  state: 'queued'
})

/** Accepts jobs. Throws IDEMPOTENCY_KEY_REUSED, STORE_UNAVAILABLE. */
export const createSubmitJob = ({ transact, expose, randomUuid, now, onQueued }: SubmitJobNeeds): SubmitJob => {
  const insert = async (write: Write, submitter: Submitter, submission: Submission): Promise<string> => {
    const at = now()
    const jobId = randomUuid()
    const { type, input, maxAttempts = maxAttemptsDefault, timeoutSeconds } = submission
    const timeoutMs = timeoutSeconds === undefined ? null : timeoutSeconds * 1000
    const access = { tenant: submitter.tenant, allTenants: submitter.allTenants }
    await insertJob(write, toQueuedJob(jobId, submitter, type, at))
    await enqueue(write, { jobId, type, maxAttempts, timeoutMs, availableAt: at })
    await insertInput(write, { jobId, input: JSON.stringify(input), access: JSON.stringify(access) })
    return jobId
  }

  const insertOnce = async (write: Write, submitter: Submitter, submission: Submission, key: string) => {
    const requestHash = hashOf(submission, submitter)
    const known = await findIdempotencyKey(write, submitter.tenant, key)
    if (known !== undefined && known.createdAt > now() - idempotencyKeyKeptMs) {
      if (known.requestHash !== requestHash) {
        throw new ServiceFailure('IDEMPOTENCY_KEY_REUSED', 'This Idempotency-Key was used for another request; use a new one.')
      }
      return { jobId: known.jobId, replayed: true }
    }
    const jobId = await insert(write, submitter, submission)
    await saveIdempotencyKey(write, submitter.tenant, key, { requestHash, jobId, createdAt: now() })
    return { jobId, replayed: false }
  }

  return async (submitter, submission, idempotencyKey) => {
    const { jobId, replayed, lookup } = await transact(async write => {
      const made = idempotencyKey === null
        ? { jobId: await insert(write, submitter, submission), replayed: false }
        : await insertOnce(write, submitter, submission, idempotencyKey)
      const lookup: JobLookup = await findJob(write, made.jobId)
      return { ...made, lookup }
    })
    const entry = await expose(lookup)
    if (!replayed) onQueued()
    return { jobId, entry, replayed }
  }
}
