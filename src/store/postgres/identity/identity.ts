import { sql } from 'kysely'
import type pg from 'pg'
import { isNotAllowed } from '../failures.ts'

/*
 * The cluster and its timeline, which a promotion changes, and a restore to a point in time. pg_control_checkpoint()
 * names the new timeline only after the next checkpoint.
 */
const parts = {
  system: 'SELECT system_identifier::text AS value FROM pg_control_system()',
  timeline: 'SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8) AS value'
}
// Of a part that the role may not ask for, or that a managed service does not have.
const unknown = 'unknown'

const readPart = async (client: pg.ClientBase, query: string): Promise<string> => {
  try {
    return (await client.query<{ value: string }>(query)).rows[0]?.value ?? unknown
  } catch (error) {
    if (isNotAllowed(error)) return unknown
    throw error
  }
}

// The session keeps the answer for `identity`.
const keepHistory = async (client: pg.ClientBase): Promise<void> => {
  const history = [await readPart(client, parts.system), await readPart(client, parts.timeline)].join('-')
  await client.query("SELECT set_config('job_status.history', $1, false)", [history])
}

const history = "nullif(current_setting('job_status.history', true), '')"

const placeText = `(
  (SELECT oid FROM pg_database WHERE datname = current_database()) || '-' || to_regclass('JobExecutionLog')::oid)`
const identityText = `(${history} || '-' || ${placeText})`

/**
 * Names the history of which the database is the end: versions, change log and epochs of another one mean nothing here.
 * It differs after a failover, a restore, and where the table was made again. Null on a replica and without the
 * table.
 */
export const identity = sql<string | null>`${sql.raw(identityText)}`

/** What a connection has reached. `identity` null: a replica, or a database without the tables. */
export type Server = { isReplica: boolean, identity: string | null }

// In one round trip: a connection for the rows of the epoch has half a second.
const readAtOnce = `
  WITH server AS MATERIALIZED (
    SELECT pg_is_in_recovery() AS "isReplica", CASE WHEN NOT pg_is_in_recovery() THEN set_config('job_status.history',
      (${parts.system}) || '-' || (${parts.timeline}), false) END AS history)
  SELECT "isReplica", history || '-' || ${placeText} AS identity FROM server`

/**
 * Asks a new connection where it leads: it reaches one server for its whole life. Statements on a primary can then use
 * `identity`.
 */
export const readServer = async (client: pg.ClientBase): Promise<Server> => {
  try {
    const { rows: [row] } = await client.query<Server>(readAtOnce)
    return row ?? { isReplica: true, identity: null }
  } catch (error) {
    if (!isNotAllowed(error)) throw error
  }
  await keepHistory(client)
  const { rows: [row] } = await client.query<Server>(`SELECT false AS "isReplica", ${identityText} AS identity`)
  return row ?? { isReplica: true, identity: null }
}

const consequences = [
  'pg_control_system(), so that it does not recognize another server in the place of this one',
  'pg_walfile_name(), so that it does not recognize a failover, or a recovery to a point in time'
] as const

/** What the identity lacks, in a line for the operator each. */
export const explainMissing = (identity: string): string[] => {
  const [system, timeline] = identity.split('-')
  return consequences.filter((_, index) => [system, timeline][index] === unknown).map(consequence =>
    `the service may not call ${consequence}: run npm run renew-incarnation after one`)
}
