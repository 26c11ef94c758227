import type { CallbackReader } from '../../store.ts'
import { countPendingQuery, dueCallbacksQuery, type PendingHost, pendingHostsQuery } from '../../tx/callbacks.ts'
import type { Database } from '../database.ts'
import { guardRead } from '../transact.ts'

export const createCallbackReader = ({ database }: { database: Database }): CallbackReader => {
  const { reader, writer } = database
  const due = reader.prepare(dueCallbacksQuery(writer, 0).compile().sql)
  const hosts = reader.prepare<[string, number, number], PendingHost>(pendingHostsQuery(writer, 0, '', 1).sql)
  const count = reader.prepare<[number], number>(countPendingQuery(writer, 1).compile().sql).pluck()
  return {
    hasDue: async at => guardRead(database, () => due.get(at, 1) !== undefined),
    pendingHosts: async (at, after, limit) => guardRead(database, () => {
      const rows = hosts.all(after, limit, at)
      const next = rows.length < limit ? null : rows.at(-1)?.host ?? null
      return { due: rows.filter(({ isDue }) => isDue === 1).map(({ host }) => host), next }
    }),
    countPending: async countMax => guardRead(database, () => count.get(countMax) ?? 0)
  }
}
