import { setTimeout as delay } from 'node:timers/promises'
import type { Kysely } from 'kysely'
import type { Transact, Tx } from '../store.ts'
import type { Tables } from '../tables.ts'
import { runTransaction } from './connection/driver.ts'
import { type Outcome, runGroup } from './connection/group.ts'
import { isOfWork, isRetried, toStoreFailure, WaitedTooLong } from './failures.ts'
import { createGroups } from './groups.ts'

// How long after its arrival a work is begun, or tried again. It waits for its group, for a connection, and for a lock:
// inside the statement, up to the lock_timeout of the session.
const patienceMs = 5000
const pauseMsMax = 100

// Three, so that one group can run while others wait for the disk or for a standby.
const limits = { underWayMax: 3, worksMax: 32 }

/** `now` in ms of a clock that only goes forward; `random` from 0 to below 1. */
export type TransactNeeds = { writer: Kysely<Tables>, now: () => number, random: () => number }

type Work<Value> = (tx: Tx) => Promise<Value>
/** Runs a work in a transaction of its own. `deadline`: of `now`; from then on it is not begun any more. */
type RunAlone = <Value>(work: Work<Value>, deadline: number) => Promise<Value>

type Grouped = {
  work: Work<unknown>, deadline: number, resolve: (value: never) => void, reject: (error: unknown) => void
}

/*
 * A work of no group has a transaction of its own, on whichever connection is free: Postgres itself commits together
 * what arrives together. Works of one group share a transaction, and the statements that they have in common: under load
 * that takes a fraction of the CPU, here and at the server. It must not tie them to each other:
 *
 * - A group waits for no lock. A work whose record is locked elsewhere leaves it and runs by itself, so that no other has
 *   to wait, and so that no program waits in a circle for several records of a group.
 * - If a statement fails, or a work after it has written, nothing of the group takes effect, and each work runs by itself.
 */
const createRunGrouped = (writer: Kysely<Tables>, runAlone: RunAlone, now: () => number) => {
  const end = ({ work, deadline, resolve, reject }: Grouped, outcome: Outcome): void => {
    if (outcome.kind === 'done') resolve(outcome.value as never)
    else if (outcome.kind === 'failed') reject(toStoreFailure(outcome.error))
    else runAlone(work, deadline).then(resolve as (value: unknown) => void, reject)
  }
  // Behind a lock each group waits for seconds, and a work may have many of them before it.
  const rejectLate = (works: readonly Grouped[]): Grouped[] => works.filter(({ deadline, reject }) => {
    const isLate = now() >= deadline
    if (isLate) reject(toStoreFailure(new WaitedTooLong()))
    return !isLate
  })
  return async (taken: Grouped[], onWorked: () => void): Promise<void> => {
    const works = rejectLate(taken)
    if (works.length === 0) return
    try {
      const outcomes = await runGroup(writer, works.map(({ work }) => work), onWorked)
      for (const [index, work] of works.entries()) end(work, outcomes[index] ?? { kind: 'apart' })
    } catch (error) {
      for (const work of works) end(work, isOfWork(error) ? { kind: 'apart' } : { kind: 'failed', error })
    }
  }
}

/**
 * Runs works in transactions. A work runs again if it lost a conflict with another transaction. It does not if the
 * connection breaks, because the answer to its COMMIT may be what was lost. `waiting` is the number of works under way.
 */
export const createTransact = ({ writer, now, random }: TransactNeeds): Transact & { waiting: () => number } => {
  let waiting = 0
  const runAlone: RunAlone = async (work, deadline) => {
    let failure: unknown = new WaitedTooLong()
    for (let trial = 1; now() < deadline; trial++) {
      try {
        return await runTransaction(writer, work)
      } catch (error) {
        if (!isRetried(error)) throw toStoreFailure(error)
        failure = error
      }
      await delay(random() * Math.min(pauseMsMax, 2 ** trial))
    }
    throw toStoreFailure(failure)
  }
  const addToGroup = createGroups(createRunGrouped(writer, runAlone, now), limits)
  const transact: Transact = async (work, group) => {
    const deadline = now() + patienceMs
    waiting++
    try {
      if (group === undefined) return await runAlone(work, deadline)
      return await new Promise((resolve, reject) => { addToGroup(group, { work, deadline, resolve, reject }) })
    } finally {
      waiting--
    }
  }
  return Object.assign(transact, { waiting: () => waiting })
}
