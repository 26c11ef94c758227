import type pg from 'pg'

/** What a connection has reached. */
export type Server = { isReplica: boolean }

export const readServer = async (client: pg.ClientBase): Promise<Server> => {
  const { rows: [row] } = await client.query<Server>('SELECT pg_is_in_recovery() AS "isReplica"')
  return { isReplica: row?.isReplica ?? true }
}
