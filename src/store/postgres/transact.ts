import { setTimeout as delay } from 'node:timers/promises'
import type { Kysely } from 'kysely'
import type { Transact, Tx } from '../store.ts'
import type { Tables } from '../tables.ts'
import { runTransaction } from './connection/driver.ts'
import { type Outcome, runGroup } from './connection/group.ts'
import { isOfWork, isRetried, toStoreFailure } from './failures.ts'
import { createGroups } from './groups.ts'

// How long a work is tried again. A lock is waited for inside the statement, up to the lock_timeout of the session.
const patienceMs = 5000
const pauseMsMax = 100

// Three, so that one group can run while others wait for the disk or for a standby.
const limits = { underWayMax: 3, worksMax: 32 }

/** `now` in ms of a clock that only goes forward; `random` from 0 to below 1. */
export type TransactNeeds = { writer: Kysely<Tables>, now: () => number, random: () => number }

type Grouped = {
  work: (tx: Tx) => Promise<unknown>, resolve: (value: never) => void, reject: (error: unknown) => void
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
const createRunGrouped = (writer: Kysely<Tables>, runAlone: Transact) => {
  const end = ({ work, resolve, reject }: Grouped, outcome: Outcome): void => {
    if (outcome.kind === 'done') resolve(outcome.value as never)
    else if (outcome.kind === 'failed') reject(toStoreFailure(outcome.error))
    else runAlone(work).then(resolve as (value: unknown) => void, reject)
  }
  return async (works: Grouped[], onWorked: () => void): Promise<void> => {
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
  const runAlone: Transact = async work => {
    const deadline = now() + patienceMs
    for (let trial = 1; ; trial++) {
      try {
        return await runTransaction(writer, work)
      } catch (error) {
        if (!isRetried(error) || now() >= deadline) throw toStoreFailure(error)
      }
      await delay(random() * Math.min(pauseMsMax, 2 ** trial))
    }
  }
  const addToGroup = createGroups(createRunGrouped(writer, runAlone), limits)
  const transact: Transact = async (work, group) => {
    waiting++
    try {
      if (group === undefined) return await runAlone(work)
      return await new Promise((resolve, reject) => { addToGroup(group, { work, resolve, reject }) })
    } finally {
      waiting--
    }
  }
  return Object.assign(transact, { waiting: () => waiting })
}
