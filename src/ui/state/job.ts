/** The states of a job, in the words of the task view. */
export const states = ['queued', 'running', 'succeeded', 'failed', 'cancelled'] as const
export type State = typeof states[number]

export type Progress = {
  percent: number,
  done: number | null,
  total: number | null,
  stage: string | null,
  message: string | null
  etaSeconds: number | null
}

export type Failure = { code: string, message: string, details?: unknown }

/** A job as the task view shows it: what the page reads of it. */
export type Job = {
  taskId: string
  type: string | null
  status: State
  isTerminal: boolean
  progress: Progress
  attempt: number
  cancelRequested: boolean
  createdAt: string
  startedAt: string | null
  finishedAt: string | null
  expiresAt: string | null
  expiredAt: string | null
  resultAvailable: boolean
  partialResultAvailable: boolean
  resultUrl: string | null
  failure: Failure | null
  version: number
}

/** A change of the feed; `job` null: it is gone, or is no longer for this token. */
export type Change = { jobId: string, version: number, job: Job | null }
