import { createHash } from 'node:crypto'
import { stringify } from 'safe-stable-stringify'
import { ServiceFailure } from '../errors.ts'
import type { RawInput } from '../job/input.ts'
import type { Job } from '../job/job.ts'
import { noProgress } from '../job/progress.ts'
import type { StatusEntry } from '../job/status-entry.ts'
import type { Tx } from '../store/store.ts'
import { findIdempotencyKey, saveIdempotencyKey } from '../store/tx/idempotency.ts'
import { findJob, insertJob } from '../store/tx/jobs.ts'
import { insertInput } from '../store/tx/inputs.ts'
import { enqueue } from '../store/tx/queue.ts'
import type { CommandNeeds } from './commit.ts'

export const idempotencyKeyKeptMs = 24 * 3600 * 1000

/** On whose behalf a job runs, and whose rows it may read. */
export type Submitter = { subject: string, tenant: string, allTenants: boolean }

/** What is to be done. `input` is any JSON value. */
export type Submission = {
  type: string
  input: unknown
  maxAttempts?: number
  timeoutSeconds?: number
  /** Of the result; what is longer than the service keeps results has no effect. */
  retentionSeconds?: number
}

/** Bytes that were stored beforehand, to belong to the job. `sha256` tells them from others under one idempotency key. */
export type StoredInput = RawInput & { sha256: string }

/** The job as it is now; `replayed`: an earlier submission under the same key made it. */
export type Submitted = { jobId: string, entry: StatusEntry, replayed: boolean }

export type SubmitJob = (
  submitter: Submitter, submission: Submission, idempotencyKey: string | null, raw?: StoredInput
) => Promise<Submitted>

export type SubmitJobNeeds = CommandNeeds & {
  randomUuid: () => string
  /** Called for each new job after the commit, so that a worker need not wait until it polls again. */
  onQueued: (type: string, tenant: string) => void
}

const maxAttemptsDefault = 3

// Two requests mean the same when their canonical JSON is the same. Not quite that of RFC 8785, which refuses half a
// surrogate pair: a text to be sanitized may well have one.
// A request that may read every tenant's rows is not the same as one that may not.
const hashOf = (submission: Submission, { allTenants }: Submitter, raw: StoredInput | undefined): string => {
  const request = { ...submission, allTenants, ...(raw === undefined ? {} : { raw: [raw.contentType, raw.sha256] }) }
  return createHash('sha256').update(stringify(request) ?? '').digest('base64url')
}

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

type Insert<Made> = (tx: Tx, submitter: Submitter, submission: Submission, raw: StoredInput | undefined) => Promise<Made>

const toMs = (seconds: number | undefined): number | null => seconds === undefined ? null : seconds * 1000

/** Accepts jobs. Throws IDEMPOTENCY_KEY_REUSED, STORE_UNAVAILABLE. */
export const createSubmitJob = ({ commit, now, randomUuid, onQueued }: SubmitJobNeeds): SubmitJob => {
  const insert: Insert<string> = async (tx, submitter, submission, raw) => {
    const at = now()
    const jobId = randomUuid()
    const { type, input, maxAttempts = maxAttemptsDefault, timeoutSeconds, retentionSeconds } = submission
    const { tenant, allTenants } = submitter
    const [timeoutMs, resultRetentionMs] = [toMs(timeoutSeconds), toMs(retentionSeconds)]
    await insertJob(tx, toQueuedJob(jobId, submitter, type, at))
    await enqueue(tx, { jobId, type, tenant, maxAttempts, timeoutMs, resultRetentionMs, availableAt: at })
    await insertInput(tx, jobId, { input: JSON.stringify(input), access: JSON.stringify({ tenant, allTenants }), raw: raw ?? null })
    return jobId
  }

  const insertOnce = async (key: string, ...[tx, submitter, submission, raw]: Parameters<Insert<string>>) => {
    const requestHash = hashOf(submission, submitter, raw)
    const known = await findIdempotencyKey(tx, submitter.tenant, key)
    if (known !== undefined && known.createdAt > now() - idempotencyKeyKeptMs) {
      if (known.requestHash !== requestHash) {
        throw new ServiceFailure('IDEMPOTENCY_KEY_REUSED', 'This Idempotency-Key was used for another request; use a new one.')
      }
      return { jobId: known.jobId, replayed: true }
    }
    const jobId = await insert(tx, submitter, submission, raw)
    await saveIdempotencyKey(tx, submitter.tenant, key, { requestHash, jobId, createdAt: now() })
    return { jobId, replayed: false }
  }

  return async (submitter, submission, idempotencyKey, raw) => {
    const { entries: [entry], value: { jobId, replayed } } = await commit(async tx => {
      const value = idempotencyKey === null
        ? { jobId: await insert(tx, submitter, submission, raw), replayed: false }
        : await insertOnce(idempotencyKey, tx, submitter, submission, raw)
      return { changes: [{ lookup: await findJob(tx, value.jobId) }], value }
    })
    if (!replayed) onQueued(submission.type, submitter.tenant)
    return { jobId, entry, replayed }
  }
}
