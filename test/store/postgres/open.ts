import type { Test } from 'tap'
import { openStore as openUrl } from '../../../src/store/open/open-store.ts'
import type { Database } from '../../../src/store/postgres/database.ts'
import { openForProcess } from '../../../src/store/postgres/open.ts'
import { createPostgresStore } from '../../../src/store/postgres/postgres-store.ts'
import type { OpenedStore, Store } from '../../../src/store/store.ts'
import type { PrivatePostgres } from '../../helpers/postgres.ts'
import { createDatabaseSql } from '../../helpers/postgres-server.ts'

export type OpenStore = { url: string, database: Database, store: Store }

const monotonicNow = () => performance.now()

/** Opens the store of a process on a database, closed when the test ends. */
export const openOn = async (t: Test, url: string): Promise<OpenStore> => {
  const opened = await openForProcess(url, monotonicNow)
  const clocks = { now: () => Date.now(), monotonicNow, random: () => Math.random() }
  const store = createPostgresStore({ ...opened, ...clocks, onReplaced: () => {} })
  t.teardown(store.close)
  return { url, database: opened.database, store }
}

/** Opens the store of a URL as a start does, with all its rejections and warnings; closed when the test ends. */
export const openAsStart = async (t: Test, databaseUrl: string, now = monotonicNow): Promise<OpenedStore> => {
  const clocks = { now: () => Date.now(), monotonicNow: now, random: () => Math.random() }
  const opened = await openUrl({ databaseUrl, isCacheShared: true, ...clocks, onReplaced: () => {} })
  t.teardown(() => opened.store.close())
  return opened
}

const templates = new WeakMap<PrivatePostgres, Promise<string>>()

// To copy a migrated database takes a tenth of a migration.
const makeTemplate = async ({ urlOf, sql }: PrivatePostgres): Promise<string> => {
  const name = 'migrated'
  await sql(createDatabaseSql(name))
  const { database } = await openForProcess(urlOf(name), monotonicNow)
  await database.close()
  return name
}

/** A store on a database of the test's own. */
export const openStore = async (t: Test, server: PrivatePostgres): Promise<OpenStore> => {
  const template = templates.get(server) ?? makeTemplate(server)
  templates.set(server, template)
  return await openOn(t, await server.createDatabase(t, await template))
}
