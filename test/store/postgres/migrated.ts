import { Kysely, PostgresDialect } from 'kysely'
import pg from 'pg'
import type { Test } from 'tap'
import * as schema from '../../../src/store/postgres/migrations/0001-schema.ts'
import * as callbackQueues from '../../../src/store/postgres/migrations/0002-callback-queues.ts'
import * as redrawnVersions from '../../../src/store/postgres/migrations/0003-redrawn-versions.ts'
import { type PrivatePostgres, startPostgres } from '../../helpers/postgres.ts'

const types: pg.CustomTypesConfig = {
  getTypeParser: (oid, format) => oid === pg.types.builtins.INT8 ? Number : pg.types.getTypeParser(oid, format) as never
}

/** A migrated database as other programs use it: nothing of the service runs. */
export type ForeignDatabase = {
  url: string
  /** A connection of another program, closed when the test ends. */
  connect: (user?: string, options?: string) => Promise<pg.Client>
  /** Runs statements on one connection. */
  run: (sql: string) => Promise<unknown>
  /** Whether the database rejects them. */
  isRejected: (sql: string) => Promise<boolean>
  /** Names are those of the catalog, in lower case. */
  rows: (sql: string, values?: unknown[]) => Promise<Array<Record<string, unknown>>>
  /** The first column of the first row. */
  value: (sql: string) => Promise<unknown>
}

const connectTo = (t: Test, url: string) => async (user?: string, options?: string) => {
  const connectionString = user === undefined ? url : url.replace(/\w+@/, `${user}@`)
  const client = new pg.Client({ connectionString, types, ...options === undefined ? {} : { options } })
  client.on('error', () => {})
  await client.connect()
  t.teardown(() => client.end())
  return client
}

const migrateAt = async (url: string) => {
  const db = new Kysely<unknown>({ dialect: new PostgresDialect({ pool: new pg.Pool({ connectionString: url, max: 1 }) }) })
  for (const { up } of [schema, callbackQueues, redrawnVersions]) await up(db)
  await db.destroy()
}

/** Starts a server, and returns what makes migrated databases on it. */
export const startMigrated = async (
  t: Test, settings: readonly string[] = []
): Promise<{ server: PrivatePostgres, open: (t: Test) => Promise<ForeignDatabase> }> => {
  const server = await startPostgres(t, settings)
  const templateUrl = await server.createDatabase(t)
  await migrateAt(templateUrl)
  const template = new URL(templateUrl).pathname.slice(1)
  return {
    server,
    open: async t => {
      const url = await server.createDatabase(t, template)
      const connect = connectTo(t, url)
      const client = await connect()
      const rows: ForeignDatabase['rows'] = async (sql, values) => (await client.query(sql, values)).rows
      const run = (sql: string) => client.query(sql)
      return {
        url,
        connect,
        run,
        isRejected: sql => run(sql).then(() => false, async () => {
          await client.query('ROLLBACK')
          return true
        }),
        rows,
        value: async sql => Object.values((await rows(sql))[0] ?? {})[0]
      }
    }
  }
}
