import { sql } from 'kysely'

/*
 * Leases that one process writes are ended by another, and callbacks are due by the clock of the database's server, so
 * all processes go by that clock.
 */

/** What the server's clock says, in ms since 1970. */
export const serverMs = sql<number>`floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint`

/** `now`: ms since 1970 by the server's clock, as far as this process knows it. */
export type ServerClock = {
  now: () => number
  /** The server read its clock at some time between the two. All in ms since 1970, the two by the own clock. */
  observe: (readMs: number, between: { askedAt: number, answeredAt: number }) => void
}

/**
 * Follows the server's clock. The difference changes only if an answer shows that it cannot be right, and then by the
 * least that can be: how long an answer takes is not taken for a difference. `ownNow` in ms since 1970.
 */
export const createServerClock = (ownNow: () => number): ServerClock => {
  let aheadMs = 0
  return {
    now: () => Math.round(ownNow() + aheadMs),
    observe: (readMs, { askedAt, answeredAt }) => {
      aheadMs = Math.min(Math.max(aheadMs, readMs - answeredAt), readMs - askedAt)
    }
  }
}
