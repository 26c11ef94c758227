import { Kysely } from 'kysely'
import type { Tables } from '../tables.ts'
import { type Circuit, createCircuit } from './connection/circuit.ts'
import { parseConnectionUrl } from './connection/connection-url.ts'
import { toDialect } from './connection/driver.ts'
import { createPools, type OnIdentity, type Pools } from './connection/pools.ts'
import { DatabaseReplaced } from './failures.ts'

/** The query builders of a process, each on a pool of its own. */
export type Database = {
  pools: Pools
  writer: Kysely<Tables>
  reads: Kysely<Tables>
  epoch: Kysely<Tables>
  bulk: Kysely<Tables>
  /** Of `writer` and `reads`. */
  circuit: Circuit
  /**
   * From now on every connection must reach the database of this identity: statements on any other fail. `onReplaced` is
   * called once, when one has reached another.
   */
  pin: (identity: string, onReplaced: () => void) => void
  /** Rejects with DatabaseReplaced unless this is the identity of the pinned database. */
  requireIdentity: OnIdentity
  close: () => Promise<void>
}

/*
 * A connection has one history for its whole life, since a failover or a restore breaks it. So it is enough to ask each
 * once: before any statement of the service, because after a failover that lost commits, what a version means is not
 * what it meant.
 */
const createPin = (circuit: Circuit, isPinnedToFirst: boolean) => {
  let pinned: string | null = null
  let onReplaced = () => {}
  return {
    pin: (identity: string, callback: () => void) => {
      pinned = identity
      onReplaced = callback
    },
    requireIdentity: (found: string | null) => {
      if (pinned === null && isPinnedToFirst) pinned = found
      if (pinned === null || found === pinned) return
      const failure = new DatabaseReplaced(pinned, found)
      if (found !== null) {
        // The table may have been made again, on the connections that there are.
        circuit.open(failure)
        onReplaced()
        onReplaced = () => {}
      }
      throw failure
    }
  }
}

/** `isPinnedToFirst`: every connection must reach the database that the first one has reached, as if it was pinned. */
export type DatabaseOptions = { isPinnedToFirst?: boolean }

/** Opens no connection by itself. Throws ServerUnusable if the URL is none, or says what cannot be honoured. */
export const openDatabase = (url: string, { isPinnedToFirst = false }: DatabaseOptions = {}): Database => {
  const circuit = createCircuit()
  const { pin, requireIdentity } = createPin(circuit, isPinnedToFirst)
  const pools = createPools(parseConnectionUrl(url), circuit, requireIdentity)
  let closing: Promise<unknown> | undefined
  return {
    pools,
    writer: new Kysely<Tables>({ dialect: toDialect(pools.writes) }),
    reads: new Kysely<Tables>({ dialect: toDialect(pools.reads) }),
    epoch: new Kysely<Tables>({ dialect: toDialect(pools.epoch) }),
    bulk: new Kysely<Tables>({ dialect: toDialect(pools.bulk) }),
    circuit,
    pin,
    requireIdentity,
    close: async () => {
      closing ??= Promise.all(Object.values(pools).map(({ close }) => close()))
      await closing
    }
  }
}
