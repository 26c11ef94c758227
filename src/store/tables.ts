import type { ColumnType, Generated, Selectable } from 'kysely'
import type { CallbackState } from '../job/callbacks/callback.ts'

/** The table that other programs write too. Times are ISO 8601 text where the service writes them. */
export type JobExecutionLogTable = {
  jobId: string
  type: string | null
  status: string
  startTime: string | null
  endTime: string | null
  resultUrl: string | null
  errorDetails: string | null
  tenant: string | null
  progressPercent: number | null
  createdAt: Generated<string | null>
  version: Generated<number>
  submittedBy: string | null
  attempt: Generated<number>
  progressDone: number | null
  progressTotal: number | null
  progressStage: string | null
  progressMessage: string | null
  etaSeconds: number | null
  cancelRequestedAt: string | null
  cancelledAt: string | null
  expiresAt: string | null
  resultExpiredAt: string | null
  hasPartialResult: Generated<number>
  /**
   * `createdAt` in ms since 1970, as `toTime` reads it; where that cannot be read, the time of the insertion. Triggers
   * fill it, and put it back where another program writes it.
   */
  createdMs: ColumnType<number, never, never>
  /** The same of `endTime`, or `createdMs` without one; null where the `endTime` cannot be read. */
  endedMs: ColumnType<number | null, never, never>
  /** Rises in the order of insertion. A trigger draws it, and puts it back where another program writes it. */
  seq: ColumnType<number, never, never>
}

/** What the processes on this database may do with their cache. */
export type CacheMode = 'on' | 'warm' | 'off'

export type Tables = {
  JobExecutionLog: JobExecutionLogTable
  JobTombstone: { jobId: string, tenant: string | null, status: string, version: number, expiredAt: string }
  /** Triggers fill `readersBefore` and `readersAfter`; null is no one or unknown, and an empty text is everyone. */
  JobChange: {
    version: Generated<number>
    jobId: string
    at: Generated<number>
    readersBefore: ColumnType<string | null, never, never>
    readersAfter: ColumnType<string | null, never, never>
  }
  JobQueue: {
    jobId: string
    type: string
    maxAttempts: number
    timeoutMs: number | null
    availableAt: number
    leaseToken: string | null
    leaseHolder: string | null
    leaseExpiresAt: number | null
    tenant: string | null
    leaseMs: number | null
    deadlineAt: number | null
    cancelDueAt: number | null
    resultRetentionMs: number | null
    resultContentType: string | null
    resultFileName: string | null
    /** That of the record: jobs that wait as long are taken in the order of their submission. */
    seq: ColumnType<number, number, never>
  }
  JobInput: {
    jobId: string
    input: string
    access: string
    inputId: string | null
    rawSizeBytes: number | null
    rawContentType: string | null
  }
  JobInputChunk: { inputId: string, startOffset: number, bytes: Uint8Array }
  OrphanedBytes: { holder: 'JobInputChunk' | 'JobResultChunk', id: string, forgetAt: number }
  SanitizationEvent: { jobId: string, kind: string, count: number, at: string }
  JobResult: {
    jobId: string
    contentType: string
    fileName: string
    sizeBytes: number
    sha256: string
    inlineJson: string | null
  }
  JobResultChunk: { jobId: string, startOffset: number, bytes: Uint8Array }
  /** `run` counts the claims of a job; `attempt` is given back where a run is released. */
  JobAttempt: {
    jobId: string
    run: number
    attempt: number
    leaseHash: string
    startedAt: number
    endedAt: number | null
    outcome: string | null
    failureCode: string | null
    failureMessage: string | null
    endReport: string | null
  }
  /** `nextTryAt`: when a try is due, or else the end of the lease of the one under way. */
  JobCallback: {
    id: string
    jobId: string
    tenant: string
    url: string
    host: string
    secret: string | null
    addedAt: number
    state: CallbackState
    nextTryAt: number | null
    leaseToken: string | null
    tries: Generated<number>
    lastStatus: number | null
    lastError: string | null
    lastTriedAt: number | null
    body: string | null
    isGone: Generated<number>
    stateBefore: CallbackState | null
    redeliveredAt: number | null
  }
  IdempotencyKey: { tenant: string, key: string, requestHash: string, jobId: string, createdAt: number }
  ServiceState: { name: string, value: string }
  CacheEpoch: {
    id: number
    name: string
    mode: CacheMode
    runId: string | null
    reason: string | null
    changedAt: number
    holdMs: number
    flaps: number
  }
  CacheNode: { node: string, epoch: string, mode: CacheMode, runId: string | null, beat: number, isGone: number }
}

/** A record as it is read. */
export type JobRow = Omit<Selectable<JobExecutionLogTable>, 'endedMs' | 'seq'>
