/** The states that an answer can have. `absent`: no such job; `invalid`: a row that violates BR-001. */
export const entryStates = [
  'queued', 'running', 'succeeded', 'failed', 'cancelled', 'expired', 'invalid', 'absent'
] as const
export type EntryState = typeof entryStates[number]

/**
 * What the cache holds of a job: the answer, not the row. The ready-made bodies of both views stand beside the fields
 * that decide who may see them and when. Everything is a function of the version; version 0: the id is known to be
 * absent.
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
  /** Whether a result can be fetched, now or later. */
  hasResult: boolean
  /** Whether the job can still be cancelled. */
  canCancel: boolean
  v1Body: string
  taskBody: string
}>
