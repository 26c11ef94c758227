import { Kysely } from 'kysely'
import type { Test } from 'tap'
import { parseConnectionUrl } from '../../../src/store/postgres/connection-url.ts'
import { toDialect } from '../../../src/store/postgres/driver.ts'
import { createPools, type Pool } from '../../../src/store/postgres/pools.ts'
import type { Tables } from '../../../src/store/tables.ts'

/** The pools of the service on a database, closed when the test ends. */
export const openDatabases = (t: Test, url: string) => {
  const pools = createPools(parseConnectionUrl(url))
  const toDatabase = (pool: Pool) => {
    const db = new Kysely<Tables>({ dialect: toDialect(pool) })
    t.teardown(() => db.destroy())
    return db
  }
  return { writer: toDatabase(pools.writes), reads: toDatabase(pools.reads), epoch: toDatabase(pools.epoch) }
}
