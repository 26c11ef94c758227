import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { type Kysely, sql } from 'kysely'
import type pg from 'pg'
import type { ChangeLog } from '../change-log.ts'
import type { Transact } from '../store.ts'
import type { Tables } from '../tables.ts'

/*
 * Processes announce their commits to each other, so that clients that wait at one process see a change by another
 * sooner than at the next poll. The store announces after the commit: NOTIFY in a trigger would hold one lock of the
 * server from the statement to the end of the commit, for all transactions that change jobs.
 */

const channel = 'job_status_commit'

// What commits within this time is announced once.
const pauseMs = 5
// How often the connection is tested, and tried again. Meanwhile followers poll.
const testMs = 10_000
const retryMs = 1000

/** `reads`: any connections to the database; `connect` opens one that this keeps for itself. */
export type AnnouncementsNeeds = { reads: Kysely<Tables>, connect: () => Promise<pg.PoolClient> }

export type Announcements = Pick<ChangeLog, 'onAnnounced'> & {
  announce: () => void
  close: () => Promise<void>
}

// The payload is the sender, which ignores its own announcements. The transaction changes nothing, so it does not
// wait for the disk.
const notify = (sender: string) => sql`
  SELECT set_config('synchronous_commit', 'off', true), pg_notify(${channel}, ${sender})`

export const createAnnouncements = ({ reads, connect }: AnnouncementsNeeds): Announcements => {
  const self = randomUUID()
  const closed = new AbortController()
  const { signal } = closed
  const listeners = new Set<() => void>()
  let listening: Promise<void> | undefined
  let isWanted = false
  let announcing: Promise<void> | undefined

  const announceWanted = async () => {
    while (isWanted && !signal.aborted) {
      isWanted = false
      // Followers poll.
      await notify(self).execute(reads).catch(() => {})
      await delay(pauseMs)
    }
    announcing = undefined
  }

  const listenOnce = async () => {
    const client = await connect()
    const lost = new AbortController()
    client.once('end', () => { lost.abort() })
    client.on('notification', ({ payload }) => {
      if (payload !== self) for (const wake of listeners) wake()
    })
    try {
      for (;;) {
        await client.query(`LISTEN ${channel}`)
        await delay(testMs, undefined, { signal: AbortSignal.any([signal, lost.signal]), ref: false })
      }
    } finally {
      client.release(true)
    }
  }
  const listen = async () => {
    while (!signal.aborted) {
      await listenOnce().catch(() => {})
      await delay(retryMs, undefined, { signal, ref: false }).catch(() => {})
    }
  }

  return {
    announce: () => {
      isWanted = true
      announcing ??= announceWanted()
    },
    onAnnounced: wake => {
      listeners.add(wake)
      listening ??= listen()
      return () => { listeners.delete(wake) }
    },
    close: async () => {
      closed.abort()
      await Promise.all([announcing, listening])
    }
  }
}

/** Announces each commit. */
export const announcing = (transact: Transact, announce: () => void): Transact => async (work, group) => {
  const value = await transact(work, group)
  announce()
  return value
}
