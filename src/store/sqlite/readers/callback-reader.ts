import type { CallbackReader } from '../../store.ts'
import { countPendingQuery, dueCallbacksQuery, type PendingQueue, pendingQueuesQuery, toPendingPage } from '../../tx/callbacks.ts'
import type { Database } from '../database.ts'
import { guardRead } from '../transact.ts'

export const createCallbackReader = ({ database }: { database: Database }): CallbackReader => {
  const { reader, writer } = database
  const due = reader.prepare(dueCallbacksQuery(writer, 0).compile().sql)
  const queues = reader.prepare<[string, string, number, number], PendingQueue>(
    pendingQueuesQuery(writer, 0, { host: '', tenant: '' }, 1).sql)
  const count = reader.prepare<[number], number>(countPendingQuery(writer, 1).compile().sql).pluck()
  return {
    hasDue: async at => guardRead(database, () => due.get(at, 1) !== undefined),
    pendingQueues: async (at, { host, tenant }, limit) => guardRead(database, () =>
      toPendingPage(queues.all(host, tenant, limit, at), limit)),
    countPending: async countMax => guardRead(database, () => count.get(countMax) ?? 0)
  }
}
