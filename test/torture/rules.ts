import type { FaultWindow, Operation } from './history.ts'

/*
 * What a history can break, and within what times it is to be judged.
 */

export type Rule =
  /** A request that started after a version was revealed was given a lower one. */
  | 'backward'
  /** The same for the position of the job, as acknowledgements give it. */
  | 'position-backward'
  /** A change by another program was not seen in time. */
  | 'late'
  /** A wait was answered with nothing of what it waited for, before its limit. */
  | 'early'
  /** What a wait waited for was there, and it was not answered in time. */
  | 'unnoticed'
  /** A client that follows changes was given an older version of a job than before. */
  | 'fallen'
  /** A client that followed all changes was not given one of them in time. */
  | 'missed'
  /** What a client has that followed all changes is not what is in the database. */
  | 'diverged'
  /** What was acknowledged or shown is not in the database at the end. */
  | 'lost'
  /** A job ended in two ways. */
  | 'two-ends'
  /** A job of ours did not end, though all was done for it. */
  | 'unfinished'
  /** Two workers had the same job at the same time. */
  | 'two-holders'
  /** There is a job that no client submitted: one submission made two. */
  | 'unknown-job'
  /** An answer that should not be. */
  | 'answer'
  /** An error in the log of a process, or its end. */
  | 'log'

/** `at`: when it showed, in ms of the history's clock. */
export type Violation = { rule: Rule, at: number, text: string }

export type Bounds = {
  /** Within what other programs' changes are to be seen, while nothing is broken. */
  foreignMs: number
  /** Within what those that wait are to be answered, while nothing is broken. */
  noticeMs: number
  /** How long after a fault nothing is judged by that bound. */
  recoveryMs: number
}

export const describe = ({ kind, node, what, startedAt, endedAt }: Operation) =>
  `${kind} ${what} at process ${node} from ${startedAt.toFixed(1)} to ${endedAt.toFixed(1)}`

/**
 * By when everyone is to be given what was there at a time, if that takes so long while nothing is broken.
 */
export const visibleBy = (
  at: number, withinMs: number, faults: readonly FaultWindow[], { recoveryMs }: Pick<Bounds, 'recoveryMs'>
): number => {
  let from = at
  for (const fault of faults) {
    if (fault.from <= from + withinMs && fault.until + recoveryMs > from) from = fault.until + recoveryMs
  }
  return from + withinMs
}
