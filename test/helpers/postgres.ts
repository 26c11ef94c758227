import { rmSync } from 'node:fs'
import { createDatabaseSql, createServer, initialize, makeFolder, type Server } from './postgres-server.ts'

/** What ends a test, or something else. */
export type Closing = { teardown: (close: () => unknown) => void }

/** A Postgres of the test's own, which it may kill. */
export type PrivatePostgres = Pick<Server, 'port' | 'process' | 'urlOf' | 'sql' | 'kill' | 'pause' | 'resume'> & {
  /** Makes a database, of the template if one is named, and returns its URL. It is dropped when the test ends. */
  createDatabase: (t: Closing, template?: string) => Promise<string>
  /** Starts it again on the same port, with its data. */
  restart: () => Promise<void>
}

/**
 * Starts a server that ends with the test. `settings`: more of them, like `wal_level=logical`. `parent`: the folder in
 * which it makes its own.
 */
export const startPostgres = async (
  t: Closing, settings: readonly string[] = [], parent?: string
): Promise<PrivatePostgres> => {
  const folder = makeFolder(parent)
  initialize(folder)
  const server = await createServer(folder, settings)
  await server.start()
  let databases = 0
  t.teardown(async () => {
    await server.kill()
    rmSync(folder, { recursive: true, force: true })
  })
  const { sql, urlOf, start: restart } = server
  return {
    ...server,
    createDatabase: async (t, template) => {
      const name = `test_${++databases}`
      await sql(createDatabaseSql(name, template))
      t.teardown(async () => { await sql(`DROP DATABASE IF EXISTS ${name} WITH (FORCE)`) })
      return urlOf(name)
    },
    restart
  }
}
