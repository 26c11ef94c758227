import { type Kysely, sql } from 'kysely'
import { keepStatement } from '../../dialect.ts'
import type { ClaimFilter, QueueCount, QueueReader } from '../../store.ts'
import type { Tables } from '../../tables.ts'
import { availableQuery, stuckQuery } from '../../tx/queue.ts'
import type { Database } from '../database.ts'
import { createGather } from '../gather.ts'
import { guardRead } from '../reads.ts'

type Asked = { types: readonly string[], now: number }

const anyAvailable = (db: Kysely<Tables>, types: readonly string[], tenant: string | null, now: number) => {
  const type = sql.ref<string>('asked.type')
  return sql<{ isThere: number }>`
    SELECT 1 AS "isThere" FROM unnest(${types}::text[]) AS asked (type)
    WHERE EXISTS (${availableQuery(db, type, tenant, now)}) LIMIT 1`
}

const availableStatement = keepStatement((db, { types, now }: Asked) => anyAvailable(db, types, null, now))
const availableOfTenantStatement = keepStatement((db, { types, now, tenant }: Asked & { tenant: string }) =>
  anyAvailable(db, types, tenant, now))

// Two connections are left to other reads.
const gatherLimits = { atOnceMax: 2, idsMax: 20 }

/** Workers mostly ask for the same jobs: those that do so at once share a statement. */
const createHasAvailable = ({ reads }: Database): QueueReader['hasAvailable'] => {
  const asked = new Map<string, { filter: ClaimFilter, now: number }>()
  const read = (key: string): Promise<boolean> => guardRead(async () => {
    const { filter: { types, tenant }, now } = asked.get(key) ?? { filter: { types: [], tenant: null }, now: 0 }
    asked.delete(key)
    const { rows } = tenant === null
      ? await availableStatement(reads, { types, now })
      : await availableOfTenantStatement(reads, { types, now, tenant })
    return rows.length > 0
  })
  const gathered = createGather((keys: string[]) => Promise.all(keys.map(read)), gatherLimits)
  return (filter, now) => {
    const key = JSON.stringify([filter.types, filter.tenant])
    // The latest: no caller misses a job that is available at its time.
    asked.set(key, { filter, now: Math.max(now, asked.get(key)?.now ?? now) })
    return gathered(key)
  }
}

export const createQueueReader = ({ database }: { database: Database }): QueueReader => ({
  hasAvailable: createHasAvailable(database),
  hasStuck: by => guardRead(async () => await stuckQuery(database.reads, by).limit(1).executeTakeFirst() !== undefined),
  // The server counts, beside everything else, so the count needs no slices.
  count: () => guardRead(async () => {
    const { rows } = await sql<QueueCount>`
      SELECT type, count(*) FILTER (WHERE leaseToken IS NULL) AS queued,
        count(*) FILTER (WHERE leaseToken IS NOT NULL) AS running,
        min(availableAt) FILTER (WHERE leaseToken IS NULL) AS "oldestAt"
      FROM JobQueue GROUP BY type`.execute(database.reads)
    return rows
  })
})
