import type { Progress } from './job.ts'

/** What a worker reports about its progress: `percent`, or `done` of `total`; everything is optional. */
export type ProgressUpdate = {
  percent?: number
  done?: number
  total?: number
  stage?: string
  message?: string
}

export const noProgress: Progress = {
  percent: 0, done: null, total: null, stage: null, message: null, etaSeconds: null
}

// Only a completed job shows 100: a client that sees 100 may stop polling.
const percentMaxWhileRunning = 99

const toPercent = (update: ProgressUpdate, total: number | null): number | undefined => {
  if (update.percent !== undefined) return update.percent
  if (update.done !== undefined && total !== null && total > 0) return 100 * update.done / total
  return undefined
}

/** Seconds left at the pace so far; null while that is too little to estimate from. */
const estimateSeconds = (percent: number, elapsedMs: number): number | null =>
  percent < 1 || elapsedMs < 1000 ? null : Math.ceil(elapsedMs * (100 - percent) / percent / 1000)

/** The next progress of a running attempt. Percent never falls within it; a lower one is ignored. */
export const advanceProgress = (current: Progress, update: ProgressUpdate, elapsedMs: number): Progress => {
  const total = update.total ?? current.total
  const reported = toPercent(update, total) ?? current.percent
  const percent = Math.max(current.percent, Math.min(Math.floor(reported), percentMaxWhileRunning))
  return {
    percent,
    done: update.done ?? current.done,
    total,
    stage: update.stage ?? current.stage,
    message: update.message ?? current.message,
    etaSeconds: estimateSeconds(percent, elapsedMs)
  }
}
