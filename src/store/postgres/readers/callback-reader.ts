import type { CallbackReader } from '../../store.ts'
import { countPendingQuery, dueCallbacksQuery, pendingHostsQuery } from '../../tx/callbacks.ts'
import type { Database } from '../database.ts'
import { guardRead } from '../reads.ts'

export const createCallbackReader = ({ database: { reads } }: { database: Database }): CallbackReader => ({
  hasDue: at => guardRead(async () => await dueCallbacksQuery(reads, at).executeTakeFirst() !== undefined),
  pendingHosts: (at, after, limit) => guardRead(async () => {
    const { rows } = await reads.executeQuery(pendingHostsQuery(reads, at, after, limit))
    const next = rows.length < limit ? null : rows.at(-1)?.host ?? null
    return { due: rows.filter(({ isDue }) => isDue === 1).map(({ host }) => host), next }
  }),
  countPending: countMax =>
    guardRead(async () => (await countPendingQuery(reads, countMax).executeTakeFirstOrThrow()).count)
})
