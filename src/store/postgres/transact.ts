import { setTimeout as delay } from 'node:timers/promises'
import type { Kysely } from 'kysely'
import type { Transact } from '../store.ts'
import type { Tables } from '../tables.ts'
import { runTransaction } from './connection/driver.ts'
import { isRetried, toStoreFailure } from './failures.ts'

// How long a work is tried again. A lock is waited for inside the statement, up to the lock_timeout of the session.
const patienceMs = 5000
const pauseMsMax = 100

/** `now` in ms of a clock that only goes forward; `random` from 0 to below 1. */
export type TransactNeeds = { writer: Kysely<Tables>, now: () => number, random: () => number }

/**
 * Runs each work in a transaction of its own, on whichever connection is free: Postgres itself commits together what
 * arrives together. A work runs again if it lost a conflict with another transaction. It does not if the connection
 * breaks, because the answer to its COMMIT may be what was lost. `waiting` is the number of works under way.
 */
export const createTransact = ({ writer, now, random }: TransactNeeds): Transact & { waiting: () => number } => {
  let waiting = 0
  const transact: Transact = async work => {
    const deadline = now() + patienceMs
    waiting++
    try {
      for (let trial = 1; ; trial++) {
        try {
          return await runTransaction(writer, work)
        } catch (error) {
          if (!isRetried(error) || now() >= deadline) throw toStoreFailure(error)
        }
        await delay(random() * Math.min(pauseMsMax, 2 ** trial))
      }
    } finally {
      waiting--
    }
  }
  return Object.assign(transact, { waiting: () => waiting })
}
