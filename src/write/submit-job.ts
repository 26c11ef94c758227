import { createHash } from 'node:crypto'
import { stringify } from 'safe-stable-stringify'
import { ServiceFailure } from '../errors.ts'
import { parseExactNumbers } from '../job/json/exact-numbers.ts'
import type { RawInput } from '../job/input.ts'
import { callbacksMax, toCallbackId } from '../job/callbacks/callback.ts'
import { isTerminal, type Job, type JobLookup } from '../job/job.ts'
import { noProgress } from '../job/progress.ts'
import type { StatusEntry } from '../job/status-entry.ts'
import type { Tx } from '../store/store.ts'
import { addCallback } from '../store/tx/callbacks.ts'
import { type IdempotencyRecord, reserveIdempotencyKey } from '../store/tx/idempotency.ts'
import { together } from '../store/together.ts'
import { findJob, insertJob, lockJob } from '../store/tx/jobs.ts'
import { insertInput } from '../store/tx/inputs.ts'
import { enqueue } from '../store/tx/runs/queue.ts'
import type { CommandNeeds } from './commit.ts'

export const idempotencyKeyKeptMs = 24 * 3600 * 1000

/** On whose behalf a job runs, and whose rows it may read. */
export type Submitter = { subject: string, tenant: string, allTenants: boolean }

/** The request for a job. `input` is any JSON value; `inputJson` its text as the client wrote it, which is stored. */
export type Submission = {
  type: string
  input: unknown
  inputJson?: string | undefined
  maxAttempts?: number
  timeoutSeconds?: number
  /** How long the result is kept; the service's own retention is the upper limit. */
  retentionSeconds?: number
  /** What is called when the job has ended. The same request with another one is a repetition that adds it. */
  callback?: CallbackRequest
}

/** `host` names the queue that the callback waits in; `secret` null stands for the service's own. */
export type CallbackRequest = { url: string, host: string, secret: string | null }

/** Bytes that were stored before the job exists. `sha256` distinguishes them from others under one idempotency key. */
export type StoredInput = RawInput & { sha256: string }

/** The job as it is now. `replayed`: an earlier submission under the same key created it. */
export type Submitted = { jobId: string, entry: StatusEntry, replayed: boolean }

export type SubmitJob = (
  submitter: Submitter, submission: Submission, idempotencyKey: string | null, raw?: StoredInput
) => Promise<Submitted>

export type SubmitJobNeeds = CommandNeeds & {
  randomUuid: () => string
  /** Called before the commit, so that a worker prepares meanwhile. */
  onSubmitting?: (type: string, isRaw: boolean) => void
  /** Called for each new job after the commit, so that a worker need not wait until it polls again. */
  onQueued: (type: string, tenant: string) => void
  /** Called after the commit if a callback is due at once. */
  onCallbackDue?: () => void
}

const maxAttemptsDefault = 3

// Two requests are the same if their canonical JSON is, and the numbers that a double would round are. The JSON is not
// quite that of RFC 8785, which rejects half a surrogate pair: a text to be sanitized may contain one. A request that
// may read every tenant's rows differs from one that may not.
const hashOf = (submission: Submission, { allTenants }: Submitter, raw: StoredInput | undefined): string => {
  const { inputJson, callback: _, ...members } = submission
  const exact = inputJson === undefined ? undefined : parseExactNumbers(inputJson)
  const request = {
    ...members,
    ...(exact === undefined ? {} : { input: exact }),
    allTenants,
    ...(raw === undefined ? {} : { raw: [raw.contentType, raw.sha256] })
  }
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

const toMs = (seconds: number | undefined): number | null => seconds === undefined ? null : seconds * 1000

type Request = { submitter: Submitter, submission: Submission, inputJson: string, raw: StoredInput | undefined }

const insert = async (tx: Tx, jobId: string, request: Request, at: number): Promise<void> => {
  const { submitter, submission, inputJson, raw = null } = request
  const { type, maxAttempts = maxAttemptsDefault, timeoutSeconds, retentionSeconds } = submission
  const { tenant, allTenants } = submitter
  const [timeoutMs, resultRetentionMs] = [toMs(timeoutSeconds), toMs(retentionSeconds)]
  await together(
    insertJob(tx, toQueuedJob(jobId, submitter, type, at)),
    enqueue(tx, { jobId, type, tenant, maxAttempts, timeoutMs, resultRetentionMs, availableAt: at }),
    insertInput(tx, jobId, { input: inputJson, access: JSON.stringify({ tenant, allTenants }), raw }))
}

// A key is kept for a day, and with short retentions its job is not.
const isForgotten = async (tx: Tx, jobId: string): Promise<boolean> => (await findJob(tx, jobId)).kind === 'absent'

// Reserves the key for a new job. Returns the job of an earlier submission of the same request, if there is one.
const reserve = async (
  tx: Tx, tenant: string, key: string, record: IdempotencyRecord
): Promise<string | undefined> => {
  const earlier = await reserveIdempotencyKey(tx, tenant, key, record, record.createdAt - idempotencyKeyKeptMs)
  if (earlier !== undefined && await isForgotten(tx, earlier.jobId)) {
    await reserveIdempotencyKey(tx, tenant, key, record, Number.MAX_SAFE_INTEGER)
    return undefined
  }
  if (earlier !== undefined && earlier.requestHash !== record.requestHash) {
    const detail = 'This Idempotency-Key was used for another request; use a new one.'
    throw new ServiceFailure('IDEMPOTENCY_KEY_REUSED', detail)
  }
  return earlier?.jobId
}

// A repeated submission may find its job in other hands: then it adds nothing to it. Returns whether it is due at once.
const callBack = async (
  tx: Tx, lookup: JobLookup, { tenant }: Submitter, callback: CallbackRequest, id: string, at: number
): Promise<boolean> => {
  if (lookup.kind !== 'job' || (lookup.job.tenant ?? tenant) !== tenant) return false
  const { jobId } = lookup.job
  const isEnded = isTerminal(lookup.job)
  if (await addCallback(tx, { ...callback, id, jobId, tenant, addedAt: at }, isEnded)) return isEnded
  const message = `callbackUrl is one too many: a job has at most ${callbacksMax}`
  const errors = [{ field: 'callbackUrl', rule: 'maxItems', message }]
  throw new ServiceFailure('VALIDATION_FAILED', message, { errors })
}

// Submissions do the same to different jobs, unless they may have to wait for one another at their key, or are large.
const group = 'submissions'
const inputInGroupMax = 64 * 1024

const groupOf = ({ submission: { callback }, inputJson, raw }: Request, idempotencyKey: string | null) =>
  idempotencyKey === null && callback === undefined && raw === undefined && inputJson.length <= inputInGroupMax
    ? group
    : undefined

/** Accepts jobs. Throws IDEMPOTENCY_KEY_REUSED, VALIDATION_FAILED, STORE_UNAVAILABLE. */
export const createSubmitJob = (
  { commit, now, randomUuid, onSubmitting = () => {}, onQueued, onCallbackDue = () => {} }: SubmitJobNeeds
): SubmitJob =>
  async (submitter, submission, idempotencyKey, raw) => {
    const { tenant } = submitter
    onSubmitting(submission.type, raw !== undefined)
    const request = { submitter, submission, inputJson: submission.inputJson ?? JSON.stringify(submission.input), raw }
    const requestHash = idempotencyKey === null ? '' : hashOf(submission, submitter, raw)
    const { entries: [entry], value: { jobId, replayed, isDue } } = await commit(async tx => {
      const [newJobId, at] = [randomUuid(), now()]
      // The key is reserved first and the job made then: the other way round, submissions at once would each make one.
      const earlierJobId = idempotencyKey === null
        ? undefined
        : await reserve(tx, tenant, idempotencyKey, { requestHash, jobId: newJobId, createdAt: at })
      if (earlierJobId === undefined) await insert(tx, newJobId, request, at)
      else await lockJob(tx, earlierJobId)
      const jobId = earlierJobId ?? newJobId
      const lookup = await findJob(tx, jobId)
      const { callback } = submission
      const isDue = callback !== undefined &&
        await callBack(tx, lookup, submitter, callback, toCallbackId(randomUuid()), at)
      return { changes: [{ lookup }], value: { jobId, replayed: earlierJobId !== undefined, isDue } }
    }, groupOf(request, idempotencyKey))
    if (isDue) onCallbackDue()
    if (!replayed) onQueued(submission.type, tenant)
    return { jobId, entry, replayed }
  }
