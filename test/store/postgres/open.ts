import { sql } from 'kysely'
import type { Test } from 'tap'
import { type Database, openDatabase } from '../../../src/store/postgres/database.ts'
import { identity } from '../../../src/store/postgres/identity.ts'
import { migrate } from '../../../src/store/postgres/migrations/migrate.ts'
import { createPostgresStore } from '../../../src/store/postgres/postgres-store.ts'
import type { Store } from '../../../src/store/store.ts'
import type { PrivatePostgres } from '../../helpers/postgres.ts'

export type OpenStore = { url: string, database: Database, store: Store }

/** Opens the store of a process on a migrated database, closed when the test ends. */
export const openOn = async (t: Test, url: string): Promise<OpenStore> => {
  const database = openDatabase(url)
  const { rows: [state] } = await sql<{ incarnation: string, identity: string }>`
    SELECT value AS incarnation, ${identity} AS identity FROM ServiceState WHERE name = 'incarnation'`
    .execute(database.reads)
  if (state === undefined) throw new Error('ServiceState has no incarnation')
  const store = createPostgresStore({
    ...state, database, now: () => Date.now(), monotonicNow: () => performance.now(), random: () => Math.random()
  })
  t.teardown(store.close)
  return { url, database, store }
}

const templates = new WeakMap<PrivatePostgres, Promise<string>>()

// To copy a migrated database takes a tenth of a migration.
const makeTemplate = async ({ urlOf, sql }: PrivatePostgres): Promise<string> => {
  const name = 'migrated'
  await sql(`CREATE DATABASE ${name} TEMPLATE template0`)
  const database = openDatabase(urlOf(name))
  await migrate(database.writer)
  await database.close()
  return name
}

/** A store on a database of the test's own. */
export const openStore = async (t: Test, server: PrivatePostgres): Promise<OpenStore> => {
  const template = templates.get(server) ?? makeTemplate(server)
  templates.set(server, template)
  return await openOn(t, await server.createDatabase(t, await template))
}
