import type { JobLookup, Progress } from '../../src/job/job.ts'

/*
 * What is expected of jobs, written a second time and in the simplest way: a table of rows and a queue, in memory, without
 * versions, transactions, expiry by index or a cache. It shares nothing with what it is compared to but the words.
 */

export const retention = { resultMs: 86_400_000, recordMs: 2 * 86_400_000, tombstoneMs: 86_400_000 }
export const graceMs = 60_000
const lookAgainMs = 60_000

const none: Progress = { percent: 0, done: null, total: null, stage: null, message: null, etaSeconds: null }

export type Status = 'Queued' | 'Running' | 'Succeeded' | 'Failed'

/** A record, by its columns: what a state does not show may still stand there, written by others. */
export type Row = {
  status: Status
  isOurs: boolean
  tenant: string | null
  createdAt: number
  startedAt: number | null
  finishedAt: number | null
  attempt: number
  progress: Progress
  cancelRequestedAt: number | null
  isCancelled: boolean
  hasPartial: boolean
  code: string | null
  resultUrl: string | null
  /** The bytes of a stored result. */
  result: string | null
  expiresAt: number | null
  resultExpiredAt: number | null
}

export type Lease = { token: string, holder: string, leaseMs: number, expiresAt: number, deadlineAt: number | null }

export type Queued = {
  order: number
  type: string
  tenant: string | null
  maxAttempts: number
  timeoutMs: number | null
  retentionMs: number
  availableAt: number
  input: string
  lease: Lease | null
  cancelDueAt: number | null
}

export type Model = {
  now: number
  rows: Map<string, Row>
  tombstones: Map<string, { tenant: string | null, status: Status, expiredAt: number }>
  queue: Map<string, Queued>
  /** What each run has appended. */
  sent: Map<string, string>
  /** The reports that ended runs, by the lease tokens of these: each can be repeated. */
  ends: Map<string, { jobId: string, report: string }>
  pruneForeignRows: boolean
}

export const createModel = (now: number, pruneForeignRows: boolean): Model =>
  ({ now, rows: new Map(), tombstones: new Map(), queue: new Map(), sent: new Map(), ends: new Map(), pruneForeignRows })

export const isFinal = (status: Status): boolean => status === 'Succeeded' || status === 'Failed'

/** What anybody may know of a job, in one shape for the model and for the store. */
export type Shown = Record<string, unknown>

export const shownOfModel = ({ rows, tombstones }: Model, jobId: string): Shown => {
  const row = rows.get(jobId)
  const dead = tombstones.get(jobId)
  if (row === undefined) {
    return dead === undefined
      ? { kind: 'absent' }
      : {
          kind: 'tombstone', tenant: dead.tenant, expiredAt: dead.expiredAt
        }
  }
  const { status, tenant, createdAt, startedAt, attempt, isOurs, progress, finishedAt } = row
  const common = { kind: 'job', tenant, createdAt, startedAt, attempt, isOurs, progress }
  switch (status) {
    case 'Queued': return { ...common, state: 'queued' }
    case 'Running': return {
      ...common, state: 'running', cancelRequestedAt: row.cancelRequestedAt, hasPartial: row.hasPartial
    }
    case 'Failed': return {
      ...common, state: row.isCancelled ? 'cancelled' : 'failed', finishedAt, code: row.code ?? 'UNSPECIFIED'
    }
    case 'Succeeded': {
      const { resultUrl, result, expiresAt, resultExpiredAt } = row
      const whole = { ...progress, percent: 100, etaSeconds: null }
      return {
        ...common,
        progress: whole,
        state: 'succeeded',
        finishedAt,
        resultUrl,
        size: result?.length ??
        null,
        expiresAt,
        resultExpiredAt
      }
    }
  }
}

export const shownOfStore = (lookup: JobLookup): Shown => {
  if (lookup.kind === 'tombstone') {
    return { kind: 'tombstone', tenant: lookup.tombstone.tenant, expiredAt: lookup.tombstone.expiredAt }
  }
  if (lookup.kind !== 'job') return { kind: lookup.kind }
  const { job } = lookup
  const { tenant, createdAt, startedAt, attempt, progress, state } = job
  const common = {
    kind: 'job', tenant, createdAt, startedAt, attempt, isOurs: job.submittedBy !== null, progress, state
  }
  if (job.state === 'queued') return common
  if (job.state === 'running') {
    return { ...common, cancelRequestedAt: job.cancelRequestedAt, hasPartial: job.hasPartialResult }
  }
  if (job.state !== 'succeeded') return { ...common, finishedAt: job.finishedAt, code: job.failure.code }
  const { finishedAt, resultUrl, result, expiresAt, resultExpiredAt } = job
  return { ...common, finishedAt, resultUrl, size: result?.sizeBytes ?? null, expiresAt, resultExpiredAt }
}

/** A row of ours as it is written again: whatever others had put into columns of other states is gone. */
const fresh = (row: Row) => ({
  ...row,
  cancelRequestedAt: null,
  isCancelled: false,
  hasPartial: false,
  code: null,
  resultUrl: null,
  result: null,
  expiresAt: null,
  resultExpiredAt: null,
  finishedAt: null
})

const newRow = (isOurs: boolean, status: Status, tenant: string | null, createdAt: number): Row => fresh({
  status, isOurs, tenant, createdAt, startedAt: null, attempt: 0, progress: none
} as Row)

const dequeue = (model: Model, jobId: string) => {
  model.queue.delete(jobId)
  model.sent.delete(jobId)
}

const free = (item: Queued, availableAt: number) => {
  Object.assign(item, { lease: null, cancelDueAt: null, availableAt })
}

export const submit = (model: Model, jobId: string, item: Omit<Queued, 'lease' | 'cancelDueAt' | 'availableAt'>) => {
  model.rows.set(jobId, newRow(true, 'Queued', item.tenant, model.now))
  model.queue.set(jobId, { ...item, lease: null, cancelDueAt: null, availableAt: model.now })
}

const finish = (model: Model, jobId: string, row: Row, more: Partial<Row>) => {
  model.rows.set(jobId, {
    ...fresh(row), progress: { ...row.progress, etaSeconds: null }, finishedAt: model.now, ...more
  })
  dequeue(model, jobId)
}

const cancelled = (model: Model, jobId: string, row: Row) => {
  finish(model, jobId, row, { status: 'Failed', isCancelled: true, code: 'JOB_CANCELLED' })
}

const requeue = (model: Model, jobId: string, row: Row, delayMs: number) => {
  model.rows.set(jobId, { ...fresh(row), status: 'Queued', progress: none })
  const item = model.queue.get(jobId)
  if (item !== undefined) free(item, model.now + delayMs)
}

/** The row, if the run that the queue knows of is the one that the record shows. */
const ownRow = (model: Model, jobId: string, status: Status): Row | undefined => {
  const row = model.rows.get(jobId)
  return row?.isOurs === true && row.status === status ? row : undefined
}

/** Another program has changed the record under the queue. */
const settle = (model: Model, jobId: string, item: Queued) => {
  const row = model.rows.get(jobId)
  if (row?.isOurs !== true || isFinal(row.status)) dequeue(model, jobId)
  else free(item, row.status === 'Queued' ? model.now : model.now + lookAgainMs)
}

/** A run that ends without a result. */
const failOrRetry = (model: Model, jobId: string, row: Row, code: string, isRetryable: boolean) => {
  if (row.cancelRequestedAt !== null) cancelled(model, jobId, row)
  else if (isRetryable && row.attempt < (model.queue.get(jobId)?.maxAttempts ?? 0)) {
    requeue(
      model, jobId, row, Math.min(60_000, 1000 * 2 ** (row.attempt - 1))
    )
  } else finish(model, jobId, row, { status: 'Failed', code })
}

/** The job that is claimed, if any. */
export const claim = (
  model: Model, types: readonly string[], tenant: string | null,
  lease: Omit<Lease, 'expiresAt' | 'deadlineAt' | 'token'>
): string | undefined => {
  for (;;) {
    const [next] = [...model.queue]
      .filter(([, item]) => item.lease === null && types.includes(item.type) && item.availableAt <= model.now &&
        (tenant === null || item.tenant === tenant))
      .sort(([, a], [, b]) => a.availableAt - b.availableAt || a.order - b.order)
    if (next === undefined) return undefined
    const [jobId, item] = next
    model.sent.delete(jobId)
    const row = model.rows.get(jobId)
    if (tenant !== null && row !== undefined && row.tenant !== tenant) item.tenant = row.tenant
    else if (row?.isOurs !== true || row.status !== 'Queued') settle(model, jobId, item)
    else {
      model.rows.set(jobId, {
        ...fresh(row), status: 'Running', attempt: row.attempt + 1, startedAt: model.now, progress: none
      })
      item.lease = {
        ...lease,
        token: '',
        expiresAt: model.now + lease.leaseMs,
        deadlineAt: item.timeoutMs === null
          ? null
          : model.now + item.timeoutMs
      }
      item.cancelDueAt = null
      return jobId
    }
  }
}

/**
 * The run that this token stands for; undefined: the lease is lost. A lease that has ended is held until it is taken
 * back. `isRunning`: the record has to say so, too.
 */
export const heldBy = (model: Model, jobId: string, token: string, isRunning = true): {
  row: Row, item: Queued, lease: Lease
} | undefined => {
  const item = model.queue.get(jobId)
  if (item?.lease == null || item.lease.token !== token) return undefined
  const row = isRunning ? ownRow(model, jobId, 'Running') : model.rows.get(jobId)
  return row === undefined ? undefined : { row, item, lease: item.lease }
}

export const prolong = (model: Model, lease: Lease) => { lease.expiresAt = model.now + lease.leaseMs }

export type Update = { percent?: number, done?: number, total?: number }

export const progress = (model: Model, row: Row, { percent, done, total }: Update) => {
  const before = row.progress
  const whole = total ?? before.total
  const reported = percent ?? (done !== undefined && whole !== null && whole > 0 ? 100 * done / whole : before.percent)
  const shown = Math.max(before.percent, Math.min(99, Math.floor(reported)))
  const elapsedMs = model.now - (row.startedAt ?? model.now)
  const etaSeconds = shown < 1 || elapsedMs < 1000 ? null : Math.ceil(elapsedMs * (100 - shown) / shown / 1000)
  row.progress = { ...before, percent: shown, done: done ?? before.done, total: whole, etaSeconds }
}

export const complete = (
  model: Model, jobId: string, row: Row, item: Queued, result: string | null, resultUrl: string | null
) => {
  const expiresAt = result === null ? null : model.now + Math.min(retention.resultMs, item.retentionMs)
  finish(model, jobId, row, {
    status: 'Succeeded', progress: { ...row.progress, percent: 100, etaSeconds: null }, result, resultUrl, expiresAt
  })
}

export const fail = (model: Model, jobId: string, row: Row, isRetryable: boolean) => {
  failOrRetry(model, jobId, row, 'E_TEST', isRetryable)
}

export const release = (model: Model, jobId: string, row: Row) => {
  if (row.cancelRequestedAt !== null) cancelled(model, jobId, row)
  else requeue(model, jobId, { ...row, attempt: Math.max(0, row.attempt - 1) }, 0)
}

// The runs of a job go with its row.
const forgetEnds = (model: Model, jobId: string) => {
  for (const [token, end] of model.ends) if (end.jobId === jobId) model.ends.delete(token)
}

export const cancel = (model: Model, jobId: string): string => {
  const row = model.rows.get(jobId)
  if (row === undefined) return 'forbidden'
  if (!row.isOurs) return 'not-ours'
  if (row.status === 'Failed' && row.isCancelled) return 'cancelled'
  if (isFinal(row.status)) return 'finished'
  if (row.status === 'Queued') {
    cancelled(model, jobId, row)
    return 'cancelled'
  }
  row.cancelRequestedAt ??= model.now
  const item = model.queue.get(jobId)
  if (item !== undefined) item.cancelDueAt ??= model.now + graceMs
  return 'asked'
}

/** By an erasure, the pruner or another program. */
export const remove = (model: Model, jobId: string) => {
  const row = model.rows.get(jobId)
  if (row === undefined) return
  model.rows.delete(jobId)
  forgetEnds(model, jobId)
  model.tombstones.set(jobId, { tenant: row.tenant, status: row.status, expiredAt: model.now })
  dequeue(model, jobId)
}

export const rescue = (model: Model, holder?: string) => {
  const { now } = model
  const causes: Array<[(item: Queued) => boolean, (jobId: string, row: Row) => void]> = holder !== undefined
    ? [[({ lease }) => lease?.holder === holder, (jobId, row) => {
        failOrRetry(model, jobId, row, 'LEASE_EXPIRED', true)
      }]]
    : [
        [({ cancelDueAt }) => cancelDueAt !== null && cancelDueAt <= now, (jobId, row) => {
          cancelled(model, jobId, row)
        }],
        [({ lease }) => lease !== null && lease.expiresAt <= now, (jobId, row) => {
          failOrRetry(model, jobId, row, 'LEASE_EXPIRED', true)
        }],
        [({ lease }) => lease?.deadlineAt != null && lease.deadlineAt <= now, (jobId, row) => {
          failOrRetry(model, jobId, row, 'TIMEOUT', true)
        }]
      ]
  for (const [isOver, end] of causes) {
    for (const [jobId, item] of [...model.queue].filter(([, item]) => isOver(item))) {
      const row = ownRow(model, jobId, 'Running')
      if (row === undefined) settle(model, jobId, item)
      else end(jobId, row)
    }
  }
}

export const expireResults = ({ now, rows }: Model) => {
  for (const row of rows.values()) {
    const isDue = row.isOurs && row.status === 'Succeeded' && row.expiresAt !== null && row.expiresAt <= now &&
      row.resultExpiredAt === null
    if (isDue) Object.assign(row, { result: null, resultExpiredAt: now })
  }
}

/** One round of the pruner. */
export const prune = (model: Model) => {
  const { now, rows, tombstones } = model
  expireResults(model)
  for (const [jobId, row] of [...rows]) {
    const isDue = isFinal(row.status) && (row.finishedAt ?? row.createdAt) < now - retention.recordMs
    if (isDue && (row.isOurs || model.pruneForeignRows)) remove(model, jobId)
  }
  for (const [jobId, { expiredAt }] of [...tombstones]) {
    if (expiredAt < now - retention.tombstoneMs) tombstones.delete(jobId)
  }
}

/** When something is due next, or after so many other things. */
export const nextDue = ({ now, rows, tombstones, queue }: Model, nth: number): number | undefined => {
  const times = [
    ...[...queue.values()].flatMap(({
      availableAt, cancelDueAt, lease
    }) => [availableAt, cancelDueAt, lease?.expiresAt, lease?.deadlineAt]),
    ...[...rows.values()].flatMap(({ status, expiresAt, resultExpiredAt, finishedAt }) =>
      isFinal(status) && finishedAt !== null
        ? [
            finishedAt + retention.recordMs + 1, resultExpiredAt === null ? expiresAt : null
          ]
        : []),
    ...[...tombstones.values()].map(({ expiredAt }) => expiredAt + retention.tombstoneMs + 1)
  ]
  return times.filter(time => time != null).filter(time => time > now).sort((a, b) => a - b)[nth]
}

/** Another program writes a status; false: the database refuses. */
export const writeStatus = (model: Model, jobId: string, status: Status): boolean => {
  const row = model.rows.get(jobId)
  if (row === undefined) return true
  if (isFinal(row.status) && row.status !== status) return false
  row.status = status
  if (isFinal(status)) row.finishedAt = model.now
  return true
}

/** Another program puts a row of its own there, whatever was there before; false: the database refuses. */
export const writeRow = (model: Model, jobId: string, status: Status, tenant: string | null): boolean => {
  const before = model.rows.get(jobId)?.status ?? model.tombstones.get(jobId)?.status
  if (before !== undefined && isFinal(before) && before !== status) return false
  dequeue(model, jobId)
  forgetEnds(model, jobId)
  model.tombstones.delete(jobId)
  model.rows.set(jobId, { ...newRow(false, status, tenant, model.now), finishedAt: isFinal(status) ? model.now : null })
  return true
}
