import { Kysely } from 'kysely'
import type { Tables } from '../tables.ts'
import { parseConnectionUrl } from './connection/connection-url.ts'
import { toDialect } from './connection/driver.ts'
import { createPools, type Pools } from './connection/pools.ts'

/** The query builders of a process, each on a pool of its own. */
export type Database = {
  pools: Pools
  writer: Kysely<Tables>
  reads: Kysely<Tables>
  epoch: Kysely<Tables>
  bulk: Kysely<Tables>
  close: () => Promise<void>
}

/** Opens no connection by itself. Throws ServerUnusable if the URL is none, or says what cannot be honoured. */
export const openDatabase = (url: string): Database => {
  const pools = createPools(parseConnectionUrl(url))
  let closing: Promise<unknown> | undefined
  return {
    pools,
    writer: new Kysely<Tables>({ dialect: toDialect(pools.writes) }),
    reads: new Kysely<Tables>({ dialect: toDialect(pools.reads) }),
    epoch: new Kysely<Tables>({ dialect: toDialect(pools.epoch) }),
    bulk: new Kysely<Tables>({ dialect: toDialect(pools.bulk) }),
    close: async () => {
      closing ??= Promise.all(Object.values(pools).map(({ close }) => close()))
      await closing
    }
  }
}
