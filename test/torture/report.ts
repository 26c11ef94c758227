import { checkHistory } from './checker.ts'
import { failover } from './database.ts'
import type { FaultWindow, FinalRecord, History } from './history.ts'
import type { Cut, Recorder } from './recorder.ts'
import type { Bounds, Violation } from './rules.ts'
import type { World } from './world.ts'

/*
 * What a run of the torture found.
 */

export type TortureReport = {
  violations: Violation[]
  figures: {
    operations: number
    jobs: number
    foreignWrites: number
    waits: number
    follows: number
    claims: number
    faults: Record<string, number>
    refusals: Record<string, number>
    warnings: Record<string, number>
    /** From the end of a fault until all processes use the cache again, at most, in ms. */
    longestRecoveryMs: number
    tookMs: number
  }
  history: History
}

/**
 * Within what a foreign write is to be seen, as docs/guarantees.md promises; and for how long after a fault that is not
 * asked. A wait is over long before, but on a busy machine not always; who is not woken waits longer.
 */
export const bounds: Bounds = { foreignMs: 1000, noticeMs: 2000, recoveryMs: 2000 }

const tally = (names: readonly string[]): Record<string, number> => {
  const counts: Record<string, number> = {}
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1
  return counts
}

/** What is to be judged. */
export const toHistory = (
  { jobs, made, operations, foreignWrites, holds, follows, mirrors }: Recorder, faults: FaultWindow[], records: FinalRecord[]
): History => ({ jobs, made, operations, foreignWrites, holds, follows, mirrors, faults, records })

// A process that notices a failover ends its streams, which may be a while after the fault.
const isExcused = ({ startedAt, endedAt, isOrderly }: Cut, windows: readonly FaultWindow[]): boolean =>
  windows.some(({ name, from, until }) => {
    const isKill = name.startsWith('kill') && name.includes('service')
    const mayEnd = isOrderly && name === failover
    return (isKill || mayEnd) && from <= endedAt && until + (mayEnd ? bounds.recoveryMs : 0) >= startedAt
  })

/** Judges the history, with what the recorder and the processes complained of. */
export const toReport = (recorder: Recorder, world: World, { records, windows, beganAt, longestRecoveryMs }:
{ records: FinalRecord[], windows: FaultWindow[], beganAt: number, longestRecoveryMs: number }): TortureReport => {
  const { jobs, operations, foreignWrites, holds, follows, complaints, cuts, refusals } = recorder
  const history = toHistory(recorder, windows, records)
  const serverComplaints = world.nodes.flatMap(node => node.complaints)
  const violations = [
    ...checkHistory(history, bounds),
    ...complaints.map(({ at, text }) => ({ rule: 'answer' as const, at, text })),
    ...cuts.filter(cut => !isExcused(cut, windows)).map(({ endedAt, text }) => ({
      rule: 'answer' as const, at: endedAt, text
    })),
    ...serverComplaints.map(text => ({ rule: 'log' as const, at: performance.now(), text }))
  ].map(violation => ({ ...violation, at: violation.at - beganAt })).sort((a, b) => a.at - b.at)
  const warnings: Record<string, number> = {}
  for (const { warnings: of } of world.nodes) {
    for (const [text, count] of of) warnings[text] = (warnings[text] ?? 0) + count
  }
  return {
    violations,
    history,
    figures: {
      operations: operations.length,
      jobs: jobs.length,
      foreignWrites: foreignWrites.length,
      waits: operations.filter(({ wait }) => wait !== undefined).length,
      follows: follows.length,
      claims: holds.length,
      faults: tally(windows.map(({ name }) => name)),
      refusals: Object.fromEntries(refusals),
      warnings,
      longestRecoveryMs: Math.round(longestRecoveryMs),
      tookMs: Math.round(performance.now() - beganAt)
    }
  }
}
