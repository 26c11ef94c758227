import type { ProgressReport } from '../processor.ts'

/** Milliseconds between two reports of one stage: each costs a write, a version and a message to waiting clients. */
const progressIntervalMs = 200

/**
 * Passes on the first report, every change of stage, and otherwise at most one report in 200 ms; the others are
 * merged into the next. `flush` passes them on at once. `now` is in milliseconds of a clock that only goes forward.
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
      // The held report of the previous stage is merged too: only the last state of that stage matters.
      if (isNewStage) stage = report.stage
      held = { ...held, ...report }
      if (isNewStage || now() - passedAt >= progressIntervalMs) flush()
    }
  }
}
