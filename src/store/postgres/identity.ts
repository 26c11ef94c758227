import type pg from 'pg'
import { sql } from 'kysely'

/** What a connection has reached. */
export type Server = { isReplica: boolean }

export const readServer = async (client: pg.ClientBase): Promise<Server> => {
  const { rows: [row] } = await client.query<Server>('SELECT pg_is_in_recovery() AS "isReplica"')
  return { isReplica: row?.isReplica ?? true }
}

/*
 * The cluster and its timeline, which a promotion changes, and a restore to a point in time. pg_control_checkpoint()
 * names the new timeline only after the next checkpoint. A connection reaches one server for its whole life, so it asks
 * once, and not while that server is a replica.
 */
const history = sql<string | null>`
  CASE coalesce(current_setting('job_status.history', true), '')
    WHEN '' THEN CASE WHEN NOT pg_is_in_recovery() THEN set_config('job_status.history', (
      SELECT system_identifier || '-' || left(pg_walfile_name(pg_current_wal_lsn()), 8)
      FROM pg_control_system()), false) END
    ELSE current_setting('job_status.history') END`

/**
 * Names the history of which the database is the end: versions, change log and epochs of another one mean nothing here.
 * It differs after a failover, a restore, and where the table was made again. Null on a replica.
 */
export const identity = sql<string | null>`
  ${history} || '-' || (SELECT oid FROM pg_database WHERE datname = current_database())
    || '-' || 'JobExecutionLog'::regclass::oid`
