import { type Kysely, sql } from 'kysely'
import type { Tables } from '../tables.ts'
import type { Database } from './database.ts'
import { ConnectionLost, isServerError, ServerUnusable } from './failures.ts'

/* What is checked at a start: a server on which the store would not keep its promises is rejected in one line. */

const versionMin = { number: 140_000, name: '14' }

type Facts = { version: number, versionName: string, encoding: string, pid: number }

const behindPooler = new ServerUnusable('a connection pooler stands before it, and shares sessions among its clients: ' +
  'the service needs sessions of its own, so the URL must name the server itself')

// A pooler rejects the settings that the service gives to its sessions, or is configured to ignore them.
const isOfPooler = (error: unknown): boolean =>
  error instanceof Error && /^unsupported startup parameter/i.test(error.message)

/** Ends a message about a right that the role lacks. */
export const seeRights = ': docs/postgres.md lists the rights that the service needs'

const insufficientPrivilege = '42501'

/** Why a start failed, in the service's words where it has any. */
export const explainRefusal = (error: unknown): unknown => {
  if (isOfPooler(error)) return behindPooler
  if (!(error instanceof Error && 'code' in error && error.code === insufficientPrivilege)) return error
  return new ServerUnusable(`${error.message}${seeRights}`)
}

/** Throws ServerUnusable if the server cannot be the store. */
export const requireFitServer = async ({ pools }: Database): Promise<void> => {
  const client = await pools.reads.connect()
  try {
    const { rows: [facts] } = await client.query<Facts>(`
      SELECT current_setting('server_version_num')::int AS version, current_setting('server_version') AS "versionName",
        current_setting('server_encoding') AS encoding, pg_backend_pid() AS pid`)
      // The driver's own: the connection broke, or did not answer.
      .catch((error: unknown) => { throw isServerError(error) ? error : new ConnectionLost(error) })
    if (facts === undefined) throw new ServerUnusable('it did not say which server it is')
    const { version, versionName, encoding, pid } = facts
    if (version < versionMin.number) {
      throw new ServerUnusable(`PostgreSQL ${versionName} is too old: at least ${versionMin.name} is needed`)
    }
    if (encoding !== 'UTF8') throw new ServerUnusable(`its encoding is ${encoding}, and must be UTF8`)
    // A pooler invents the number of the process that it names to its client.
    if ((client as { processID?: number }).processID !== pid) throw behindPooler
  } finally {
    client.release()
  }
}

const triggers = [
  ['JobExecutionLog', 'zz_inserting'], ['JobExecutionLog', 'zz_inserted'], ['JobExecutionLog', 'zz_updating'],
  ['JobExecutionLog', 'zz_updated'], ['JobExecutionLog', 'zz_deleted'], ['JobExecutionLog', 'zz_truncating'],
  ['JobInput', 'zz_deleted'], ['JobQueue', 'zz_cutting']
] as const

/**
 * Throws ServerUnusable if a trigger is missing or does not fire for every writer. Tools that switch all triggers off and
 * on again, such as pg_restore --disable-triggers, leave them off for replication, which could then break BR-001.
 */
export const requireTriggers = async (reads: Kysely<Tables>): Promise<void> => {
  const { rows } = await sql<{ name: string, enabled: string }>`
    SELECT relname || '.' || tgname AS name, tgenabled AS enabled
    FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
    WHERE tgrelid IN ('JobExecutionLog'::regclass, 'JobInput'::regclass, 'JobQueue'::regclass)`.execute(reads)
  const always = new Set(rows.filter(({ enabled }) => enabled === 'A').map(({ name }) => name))
  for (const [table, trigger] of triggers) {
    if (always.has(`${table.toLowerCase()}.${trigger}`)) continue
    throw new ServerUnusable(rows.some(({ name }) => name === `${table.toLowerCase()}.${trigger}`)
      ? `a trigger does not fire for every writer: run ALTER TABLE ${table} ENABLE ALWAYS TRIGGER ${trigger}`
      : `the trigger ${trigger} of ${table} is missing`)
  }
}
