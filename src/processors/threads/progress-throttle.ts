import type { ProgressReport } from '../processor.ts'

/** Milliseconds between two reports of one stage: each costs a write, a version and a message to whoever waits. */
const progressIntervalMs = 200

/**
 * Lets through the first report, every change of stage, and else at most one report in 200 ms; what is held back is
 * merged into the next. `flush` lets it through at once. `now` is in milliseconds and never runs backwards.
 */
export const createProgressThrottle = (pass: (report: ProgressReport) => void, now: () => number) => {
  let held: ProgressReport = {}
  let passedAt = -Infinity
  let stage: string | undefined

  const flush = () => {
    if (Object.keys(held).length === 0) return
    pass(held)
    held = {}
    passedAt = now()
  }
  return {
    flush,
    report (report: ProgressReport) {
      const isNewStage = report.stage !== undefined && report.stage !== stage
      // What was held belongs to the stage before, of which only its last state is of interest.
      if (isNewStage) stage = report.stage
      held = { ...held, ...report }
      if (isNewStage || now() - passedAt >= progressIntervalMs) flush()
    }
  }
}
