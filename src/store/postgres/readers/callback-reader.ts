import type { CallbackReader } from '../../store.ts'
import { countPendingQuery, dueCallbacksQuery, pendingQueuesQuery, toPendingPage } from '../../tx/callbacks.ts'
import type { Database } from '../database.ts'
import { guardRead } from '../reads.ts'

export const createCallbackReader = ({ database: { reads } }: { database: Database }): CallbackReader => ({
  hasDue: at => guardRead(async () => await dueCallbacksQuery(reads, at).executeTakeFirst() !== undefined),
  pendingQueues: (at, after, limit) => guardRead(async () =>
    toPendingPage((await reads.executeQuery(pendingQueuesQuery(reads, at, after, limit))).rows, limit)),
  countPending: countMax =>
    guardRead(async () => (await countPendingQuery(reads, countMax).executeTakeFirstOrThrow()).count)
})
