/** What a reader can be told of a job. `absent`: no such job; `invalid`: a row that breaks BR-001. */
export const entryStates = ['queued', 'running', 'succeeded', 'failed', 'cancelled', 'expired', 'invalid', 'absent'] as const
export type EntryState = typeof entryStates[number]

/**
 * The answer, not the row: the ready-made bodies of both views beside what decides who may see them and when.
 * Everything in it is a function of the version; version 0 says that the id is known to be absent.
 */
export type StatusEntry = Readonly<{
  jobId: string
  version: number
  tenant: string | null
  state: EntryState
  /** 0 to 100, whole. */
  percent: number
  /** Milliseconds; 0 when nothing will change. */
  pollAfterMs: number
  /** Milliseconds since 1970; 0 unless expired. */
  expiredAt: number
  /** Whether a result can be had, now or later. */
  hasResult: boolean
  /** Whether the job can still be cancelled. */
  canCancel: boolean
  v1Body: string
  taskBody: string
}>
