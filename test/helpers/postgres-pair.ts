import { rmSync } from 'node:fs'
import type pg from 'pg'
import { postgresBinary } from '../../scripts/services.ts'
import type { Closing } from './postgres.ts'
import { createDatabaseSql, createServer, dataOf, initialize, makeFolder, run, type Server, superuser } from './postgres-server.ts'
import { until } from './until.ts'

/** How a primary ends. Either way its standby has all that it acknowledged. */
export type PrimaryEnd = 'kill' | 'stop'

/** A primary and a synchronous standby, which can take its place. */
export type PostgresPair = {
  /** Both, in the order of the hosts in a URL. */
  servers: readonly Server[]
  primary: () => Server
  /** Makes a database, and returns its URL with both hosts. */
  createDatabase: () => Promise<string>
  /** Runs statements on the primary, as the superuser. */
  sql: (statement: string, database?: string) => Promise<pg.QueryResult>
  /** Waits until the standby has all that the primary has shown. */
  synchronize: () => Promise<void>
  /** Makes the standby the primary. Resolves once it takes writes. The old one must have ended. */
  promote: () => Promise<void>
  /** Makes the server that has ended the synchronous standby of the primary. */
  rebuild: () => Promise<void>
}

const synchronousNames = 'synchronous_standby_names'

// A commit, with something to be written, that changes nothing.
const commit = "SELECT pg_logical_emit_message(true, '', '')"

/**
 * Makes a standby, and the primary wait for it. The order matters: a commit that does not wait yet could be acknowledged,
 * and lost in a failover. So the standby follows once it is certain that commits wait.
 */
const follow = async (primary: Server, standby: Server, folder: string): Promise<void> => {
  rmSync(dataOf(folder), { recursive: true, force: true })
  run(postgresBinary('pg_basebackup'), '--pgdata', dataOf(folder), '--host', '127.0.0.1', '--port', String(primary.port),
    '--username', superuser, '--write-recovery-conf', '--checkpoint', 'fast', '--no-sync')
  await primary.sql(`ALTER SYSTEM SET ${synchronousNames} = '*'`)
  await primary.sql('SELECT pg_reload_conf()')
  const isWaiting = async () =>
    (await primary.sql("SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'")).rows.length > 0
  let isStarting = false
  const committing = (async () => {
    while (!isStarting) await primary.sql(commit)
  })()
  await until(isWaiting, 'a commit that waits for the standby')
  isStarting = true
  await standby.start()
  await committing
}

/** Starts both; they end with the test. `settings` as for startPostgres. */
export const startPostgresPair = async (t: Closing, settings: readonly string[] = []): Promise<PostgresPair> => {
  const folders = [makeFolder(), makeFolder()] as const
  initialize(folders[0])
  const servers = [await createServer(folders[0], settings), await createServer(folders[1], settings)] as const
  let [primary, standby] = servers
  let databases = 0
  t.teardown(async () => {
    await Promise.all(servers.map(({ kill }) => kill()))
    for (const folder of folders) rmSync(folder, { recursive: true, force: true })
  })
  const sql: PostgresPair['sql'] = (statement, database) => primary.sql(statement, database)
  const rebuild = () => follow(primary, standby, standby === servers[0] ? folders[0] : folders[1])
  await primary.start()
  await rebuild()
  return {
    servers,
    primary: () => primary,
    createDatabase: async () => {
      const name = `test_${++databases}`
      await sql(createDatabaseSql(name))
      const hosts = servers.map(({ port }) => `127.0.0.1:${port}`).join()
      return `postgres://${superuser}@${hosts}/${name}?target_session_attrs=read-write`
    },
    sql,
    synchronize: async () => {
      const { rows: [shown] } = await sql('SELECT pg_current_wal_lsn() AS at')
      const isReplayed = `SELECT pg_last_wal_replay_lsn() >= '${shown?.at}' AS is`
      await until(async () => (await standby.sql(isReplayed)).rows[0]?.is === true, 'the standby to follow')
    },
    promote: async () => {
      // The backup was made before the old primary waited for a standby, so the new one waits for none.
      await standby.sql('SELECT pg_promote()');
      [primary, standby] = [standby, primary]
      await until(async () => (await sql('SELECT pg_is_in_recovery() AS is')).rows[0]?.is === false, 'the promotion')
    },
    rebuild
  }
}
