import { findDiverged, findFallen, findMissed } from './check-follows.ts'
import { findEarly, findUnnoticed } from './check-waits.ts'
import type { End, History, Hold, Operation } from './history.ts'
import { type Bounds, describe, type Rule, type Violation, visibleBy } from './rules.ts'

/*
 * Judges a history. No model of the service and no search: versions are totally ordered, so it is enough to go over
 * all requests in the order of their ends, and to compare each with the highest version that had been revealed of its job
 * when it started.
 */

type ValueOf = (operation: Operation) => number | null

/** The value that was revealed of a job, when, and by which operation; only where it rose. */
type Rise = { at: number, value: number, by: Operation | null }

// Rises come in the order of time, and there are few of a job: the one that counts is near the end.
const createRises = (jobCount: number) => {
  const rises = Array.from({ length: jobCount }, (): Rise[] => [])
  return {
    add: (job: number, rise: Rise) => {
      const last = rises[job]?.at(-1)
      if (last === undefined || rise.value > last.value) rises[job]?.push(rise)
    },
    before: (job: number, at: number): Rise | undefined => {
      const all = rises[job] ?? []
      let index = all.length - 1
      while (index >= 0 && (all[index] as Rise).at >= at) index--
      return all[index]
    }
  }
}

// In the order of the ends: whatever ended before an operation started has been met when its turn comes.
const sweepOperations = (
  { jobs, operations }: History, rule: Rule, valueOf: ValueOf, mostOf = valueOf
): Violation[] => {
  const violations: Violation[] = []
  const rises = createRises(jobs.length)
  for (const operation of operations) {
    const most = mostOf(operation)
    if (most === null) continue
    const { job, startedAt, endedAt, kind } = operation
    const floor = kind === 'read' ? rises.before(job, startedAt) : undefined
    if (floor !== undefined && most < floor.value) {
      const by = floor.by === null ? '' : `, after ${describe(floor.by)}`
      violations.push({
        rule, at: endedAt, text: `${jobs[job] ?? ''}: ${most} after ${floor.value}: ${describe(operation)}${by}`
      })
    }
    const value = valueOf(operation)
    if (value !== null) rises.add(job, { at: endedAt, value, by: operation })
  }
  return violations
}

const sweepForeign = ({ jobs, operations, foreignWrites, ...history }: History, bounds: Bounds): Violation[] => {
  const faults = history.faults.toSorted((a, b) => a.from - b.from)
  const rises = createRises(jobs.length)
  const reveals = foreignWrites.map(write => ({
    job: write.job, at: visibleBy(write.committedAt, bounds.foreignMs, faults, bounds), value: write.version, by: null
  }))
  for (const reveal of reveals.sort((a, b) => a.at - b.at)) rises.add(reveal.job, reveal)
  const violations: Violation[] = []
  for (const operation of operations) {
    const { kind, job, version, startedAt, endedAt } = operation
    if (kind !== 'read' || version === null) continue
    const floor = rises.before(job, startedAt)
    if (floor === undefined || version >= floor.value) continue
    violations.push({
      rule: 'late',
      at: endedAt,
      text: `${jobs[job] ?? ''}: ${version}, but ${floor.value} had been committed: ${describe(operation)}`
    })
  }
  return violations
}

// The highest value that was revealed of each job, against the database.
const findLost = ({ jobs, operations, foreignWrites, records }: History): Violation[] => {
  const violations: Violation[] = []
  const recordOf = new Map(records.map(record => [record.jobId, record]))
  const record = jobs.map(jobId => recordOf.get(jobId))
  const complained = new Set<number>()
  const complain = (job: number, at: number, text: string) => {
    if (complained.has(job)) return
    complained.add(job)
    violations.push({ rule: 'lost', at, text: `${jobs[job] ?? ''}: ${text}` })
  }
  for (const operation of operations) {
    const { job, version, position, endedAt } = operation
    const { version: finalVersion, position: finalPosition } = record[job] ?? { version: 0, position: -1 }
    if (version !== null && version > finalVersion) {
      complain(job, endedAt, `version ${version} was revealed, the record has ${finalVersion}: ${describe(operation)}`)
    }
    if (position !== null && position > finalPosition) {
      complain(
        job, endedAt, `position ${position} was revealed, the record has ${finalPosition}: ${describe(operation)}`
      )
    }
  }
  for (const { job, version, committedAt } of foreignWrites) {
    const finalVersion = record[job]?.version ?? 0
    if (version > finalVersion) {
      complain(job, committedAt, `version ${version} was committed by another program, the record has ${finalVersion}`)
    }
  }
  return violations
}

const findEnds = ({ jobs, made, operations, records }: History, overAt: number): Violation[] => {
  const violations: Violation[] = []
  const indexOf = new Map(jobs.map((jobId, index) => [jobId, index]))
  const first: Array<{ end: End, text: string } | undefined> = new Array(jobs.length).fill(undefined)
  const meet = (job: number, end: End, at: number, text: string) => {
    const known = first[job]
    first[job] ??= { end, text }
    if (known !== undefined && known.end !== end) {
      violations.push({
        rule: 'two-ends', at, text: `${jobs[job] ?? ''}: ${end} by ${text}, ${known.end} by ${known.text}`
      })
    }
  }
  for (const operation of operations) {
    if (operation.end !== null) meet(operation.job, operation.end, operation.endedAt, describe(operation))
  }
  for (const { jobId, end } of records) {
    const job = indexOf.get(jobId)
    if (job === undefined || !made.has(job)) {
      violations.push({
        rule: 'unknown-job', at: overAt, text: `${jobId} is in the database, and no response to a submission named it`
      })
    } else if (end === null) violations.push({ rule: 'unfinished', at: overAt, text: `${jobId} has not ended` })
    else meet(job, end, overAt, 'its record')
  }
  return violations
}

const findTwoHolders = ({ jobs, holds }: History): Violation[] => {
  const violations: Violation[] = []
  const ofJob = Map.groupBy(holds, ({ job }) => job)
  for (const [job, all] of ofJob) {
    const inOrder = all.toSorted((a, b) => a.from - b.from)
    for (const [index, later] of inOrder.entries()) {
      const clash = inOrder.slice(0, index).find((earlier: Hold) =>
        earlier.holder !== later.holder && (earlier.until > later.from || earlier.attempt >= later.attempt))
      if (clash === undefined) continue
      violations.push({
        rule: 'two-holders',
        at: later.from,
        text: `${jobs[job] ?? ''}: attempt ${clash.attempt} was held from ${clash.from.toFixed(1)} to ${clash.until.toFixed(1)}, attempt ${later.attempt} from ${later.from.toFixed(1)}`
      })
    }
  }
  return violations
}

/** Everything in a history that should not have been, in the order of time. */
export const checkHistory = (history: History, bounds: Bounds): Violation[] => {
  const overAt = history.operations.at(-1)?.endedAt ?? 0
  return [
    ...sweepOperations(history, 'backward', ({ version }) => version),
    ...sweepOperations(history, 'position-backward', ({ position }) => position, ({
      position, positionMax
    }) => positionMax ?? position),
    ...sweepForeign(history, bounds),
    ...findLost(history),
    ...findEnds(history, overAt),
    ...findTwoHolders(history),
    ...findEarly(history, bounds),
    ...findUnnoticed(history, bounds),
    ...findFallen(history),
    ...findMissed(history, bounds),
    ...findDiverged(history, overAt)
  ].sort((a, b) => a.at - b.at)
}
