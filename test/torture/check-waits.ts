import type { History, Operation, Wait } from './history.ts'
import { type Bounds, describe, type Violation, visibleBy } from './rules.ts'

/*
 * Judges requests that waited: not what they were answered, which is judged as of any read, but when.
 */

type WaitingOperation = Operation & { wait: Wait }

const isWait = (operation: Operation): operation is WaitingOperation => operation.wait !== undefined

const nameOf = ({ wait: { above } }: WaitingOperation): string => above === null ? 'the end' : `more than ${above}`

const isAwaited = ({ above }: Wait, version: number | null, end: Operation['end']): boolean =>
  end !== null || (above !== null && version !== null && version > above)

// A timer of Node may go off within the millisecond before it is due.
const timerSlackMs = 2

/**
 * Waits that ended neither with what they waited for nor at their limits. A job that is unknown is no reason to wait. A
 * submission that was accepted is answered when its wait fails.
 */
export const findEarly = ({ jobs, operations, faults }: History, { recoveryMs }: Pick<Bounds, 'recoveryMs'>): Violation[] =>
  operations.filter(isWait).flatMap(operation => {
    const { kind, job, wait, version, end, startedAt, endedAt } = operation
    const isOver = endedAt - startedAt >= wait.limitMs - timerSlackMs
    if (version === 0 || isOver || isAwaited(wait, version, end)) return []
    if (kind === 'write' && faults.some(({ from, until }) => from <= endedAt && until + recoveryMs >= startedAt)) return []
    return [{
      rule: 'early', at: endedAt, text: `${jobs[job] ?? ''}: ${version}, not ${nameOf(operation)}: ${describe(operation)}`
    }]
  })

/** Something that could be waited for, and when it was there. */
type Occasion = { at: number, version: number | null, end: Operation['end'] }

/** Waits that went on though what they waited for was there. */
export const findUnnoticed = ({ jobs, operations, foreignWrites, ...history }: History, bounds: Bounds): Violation[] => {
  const waits = operations.filter(isWait)
  const waited = new Set(waits.map(({ job }) => job))
  const faults = history.faults.toSorted((a, b) => a.from - b.from)
  const occasions = Map.groupBy([
    ...operations.filter(({ job }) => waited.has(job)).map(({ job, endedAt, version, end }) =>
      ({ job, at: endedAt, version, end })),
    ...foreignWrites.filter(({ job }) => waited.has(job)).map(({ job, committedAt, version }) =>
      ({ job, at: committedAt, version, end: null }))
  ].sort((a, b) => a.at - b.at), ({ job }) => job) as Map<number, Occasion[]>
  return waits.flatMap(operation => {
    const { job, wait, startedAt, endedAt } = operation
    const occasion = occasions.get(job)?.find(({ at, version, end }) => at > startedAt && isAwaited(wait, version, end))
    if (occasion === undefined || visibleBy(occasion.at, bounds.noticeMs, faults, bounds) >= endedAt) return []
    const ms = (endedAt - occasion.at).toFixed(0)
    return [{
      rule: 'unnoticed', at: endedAt, text: `${jobs[job] ?? ''}: ${nameOf(operation)} was there ${ms} ms before: ${describe(operation)}`
    }]
  })
}
